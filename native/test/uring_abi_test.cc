// The interface as written out in uring_abi.h, against the header of the system where it is there
// (Debian 12's is the oldest that has all of it).
#if __has_include(<linux/io_uring.h>)

#include <linux/io_uring.h>

#if defined(IORING_SETUP_DEFER_TASKRUN)

#include <sys/syscall.h>

#include "../uring/uring_abi.h"

namespace abi = pacioli::uring;

static_assert(abi::call_setup == SYS_io_uring_setup);
static_assert(abi::call_enter == SYS_io_uring_enter);
static_assert(abi::call_register == SYS_io_uring_register);

static_assert(sizeof(abi::Sqe) == sizeof(io_uring_sqe));
static_assert(offsetof(abi::Sqe, fd) == offsetof(io_uring_sqe, fd));
static_assert(offsetof(abi::Sqe, off) == offsetof(io_uring_sqe, off));
static_assert(offsetof(abi::Sqe, addr) == offsetof(io_uring_sqe, addr));
static_assert(offsetof(abi::Sqe, len) == offsetof(io_uring_sqe, len));
static_assert(offsetof(abi::Sqe, op_flags) == offsetof(io_uring_sqe, rw_flags));
static_assert(offsetof(abi::Sqe, buf_index) == offsetof(io_uring_sqe, buf_index));
static_assert(offsetof(abi::Sqe, user_data) == offsetof(io_uring_sqe, user_data));
static_assert(sizeof(abi::Cqe) == sizeof(io_uring_cqe));
static_assert(offsetof(abi::Cqe, res) == offsetof(io_uring_cqe, res));
static_assert(sizeof(abi::Params) == sizeof(io_uring_params));
static_assert(offsetof(abi::Params, features) == offsetof(io_uring_params, features));
static_assert(offsetof(abi::Params, sq_off) == offsetof(io_uring_params, sq_off));
static_assert(offsetof(abi::Params, cq_off) == offsetof(io_uring_params, cq_off));
static_assert(offsetof(abi::SqOffsets, flags) == offsetof(io_sqring_offsets, flags));
static_assert(offsetof(abi::SqOffsets, array) == offsetof(io_sqring_offsets, array));
static_assert(offsetof(abi::CqOffsets, cqes) == offsetof(io_cqring_offsets, cqes));
static_assert(sizeof(abi::GeteventsArg) == sizeof(io_uring_getevents_arg));
static_assert(offsetof(abi::GeteventsArg, timespec) == offsetof(io_uring_getevents_arg, ts));
static_assert(sizeof(abi::FilesUpdate) == sizeof(io_uring_files_update));
static_assert(sizeof(abi::ResourceRegister) == sizeof(io_uring_rsrc_register));
static_assert(offsetof(abi::ResourceRegister, flags) == offsetof(io_uring_rsrc_register, flags));
static_assert(offsetof(abi::ResourceRegister, data) == offsetof(io_uring_rsrc_register, data));
static_assert(sizeof(abi::ResourceUpdate) == sizeof(io_uring_rsrc_update2));
static_assert(offsetof(abi::ResourceUpdate, data) == offsetof(io_uring_rsrc_update2, data));
static_assert(offsetof(abi::ResourceUpdate, count) == offsetof(io_uring_rsrc_update2, nr));
static_assert(sizeof(abi::ProbeOp) == sizeof(io_uring_probe_op));
static_assert(offsetof(abi::Probe, ops) == offsetof(io_uring_probe, ops));
static_assert(sizeof(abi::Timespec) == sizeof(__kernel_timespec));

static_assert(abi::op::nop == IORING_OP_NOP);
static_assert(abi::op::fsync == IORING_OP_FSYNC);
static_assert(abi::op::read_fixed == IORING_OP_READ_FIXED);
static_assert(abi::op::write_fixed == IORING_OP_WRITE_FIXED);
static_assert(abi::op::poll_add == IORING_OP_POLL_ADD);
static_assert(abi::op::timeout == IORING_OP_TIMEOUT);
static_assert(abi::op::accept == IORING_OP_ACCEPT);
static_assert(abi::op::async_cancel == IORING_OP_ASYNC_CANCEL);
static_assert(abi::op::connect == IORING_OP_CONNECT);
static_assert(abi::op::close == IORING_OP_CLOSE);
static_assert(abi::op::read == IORING_OP_READ);
static_assert(abi::op::write == IORING_OP_WRITE);
static_assert(abi::op::send == IORING_OP_SEND);
static_assert(abi::op::recv == IORING_OP_RECV);
static_assert(abi::op::shutdown == IORING_OP_SHUTDOWN);

static_assert(abi::setup::cq_size == IORING_SETUP_CQSIZE);
static_assert(abi::setup::clamp == IORING_SETUP_CLAMP);
static_assert(abi::setup::submit_all == IORING_SETUP_SUBMIT_ALL);
static_assert(abi::setup::coop_taskrun == IORING_SETUP_COOP_TASKRUN);
static_assert(abi::setup::taskrun_flag == IORING_SETUP_TASKRUN_FLAG);
static_assert(abi::setup::single_issuer == IORING_SETUP_SINGLE_ISSUER);
static_assert(abi::setup::defer_taskrun == IORING_SETUP_DEFER_TASKRUN);
static_assert(abi::feature::single_mmap == IORING_FEAT_SINGLE_MMAP);
static_assert(abi::feature::no_drop == IORING_FEAT_NODROP);
static_assert(abi::feature::fast_poll == IORING_FEAT_FAST_POLL);
static_assert(abi::feature::ext_arg == IORING_FEAT_EXT_ARG);
static_assert(abi::sq_flag::cq_overflow == IORING_SQ_CQ_OVERFLOW);
static_assert(abi::sq_flag::taskrun == IORING_SQ_TASKRUN);
static_assert(abi::enter::getevents == IORING_ENTER_GETEVENTS);
static_assert(abi::enter::ext_arg == IORING_ENTER_EXT_ARG);
static_assert(abi::register_op::unregister_buffers == IORING_UNREGISTER_BUFFERS);
static_assert(abi::register_op::unregister_files == IORING_UNREGISTER_FILES);
static_assert(abi::register_op::buffers2 == IORING_REGISTER_BUFFERS2);
static_assert(abi::register_op::buffers_update == IORING_REGISTER_BUFFERS_UPDATE);
static_assert(abi::register_sparse == IORING_RSRC_REGISTER_SPARSE);
static_assert(abi::register_op::files == IORING_REGISTER_FILES);
static_assert(abi::register_op::eventfd == IORING_REGISTER_EVENTFD);
static_assert(abi::register_op::files_update == IORING_REGISTER_FILES_UPDATE);
static_assert(abi::register_op::probe == IORING_REGISTER_PROBE);
static_assert(abi::offset_sq_ring == IORING_OFF_SQ_RING);
static_assert(abi::offset_sqes == IORING_OFF_SQES);
static_assert(abi::sqe_fixed_file == IOSQE_FIXED_FILE);
static_assert(abi::fsync_datasync == IORING_FSYNC_DATASYNC);
static_assert(abi::probe_op_supported == IO_URING_OP_SUPPORTED);
static_assert(abi::rwf_dsync == RWF_DSYNC);

#endif
#endif
