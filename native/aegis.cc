#include "aegis.h"

namespace pacioli {

const ChecksumImplementation& checksum_implementation() {
  static const ChecksumImplementation chosen = [] {
    if (ChecksumFunction found = checksum_x86()) return ChecksumImplementation{"aes-ni", found};
    if (ChecksumFunction found = checksum_arm()) return ChecksumImplementation{"armv8-aes", found};
    return ChecksumImplementation{"portable", checksum_portable};
  }();
  return chosen;
}

}  // namespace pacioli
