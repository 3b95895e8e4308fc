// A tournament: the heads of the inputs are the leaves of a tree in which each node holds the
// smaller one of its two children. The root is the next entry, and only the path above the input
// that it came from is played again. Which child wins is not to be predicted, so the comparison is
// arithmetic, without branches. An input at its end plays on as an entry larger than all.
#include "merge.h"

#include "../check.h"
#include "entry.h"

namespace pacioli {
namespace {

template <unsigned words>
struct Head {
  uint64_t parts[words / 2];
  uint64_t ended;
};

template <unsigned words>
inline bool head_less(const Head<words>& a, const Head<words>& b) {
  bool smaller = false;
  for (unsigned index = 0; index < words / 2; index += 1) {
    smaller = (a.parts[index] < b.parts[index]) | ((a.parts[index] == b.parts[index]) & smaller);
  }
  return (a.ended < b.ended) | ((a.ended == b.ended) & smaller);
}

template <unsigned words>
class Tournament {
 public:
  Tournament(MergeInput* inputs, unsigned count)
      : inputs_(inputs), leaves_(std::bit_ceil(count)) {
    for (unsigned leaf = 0; leaf < leaves_; leaf += 1) {
      nodes_[leaves_ + leaf] = leaf;
      if (leaf < count) {
        load(leaf);
      } else {
        heads_[leaf] = {{}, 1};
      }
    }
    for (unsigned node = leaves_; node-- > 1;) play(node);
  }

  size_t merge(Entry<words>* target, size_t room) {
    size_t written = 0;
    while (written < room && !starved_) {
      const unsigned winner = nodes_[1];
      if (heads_[winner].ended != 0) break;
      MergeInput& input = inputs_[winner];
      std::memcpy(target + written, input.at, sizeof(Entry<words>));
      written += 1;
      input.at += words;
      load(winner);
      for (unsigned node = (leaves_ + winner) / 2; node > 0; node /= 2) play(node);
    }
    return written;
  }

 private:
  void load(unsigned index) {
    const MergeInput& input = inputs_[index];
    if (input.at == input.end) {
      heads_[index].ended = 1;
      starved_ |= input.more;
      return;
    }
    for (unsigned at = 0; at < words / 2; at += 1) {
      heads_[index].parts[at] = load64(input.at + 2 * at);
    }
    heads_[index].ended = 0;
  }

  // The left child covers earlier inputs and wins a draw.
  void play(unsigned node) {
    const uint32_t left = nodes_[2 * node];
    const uint32_t right = nodes_[2 * node + 1];
    nodes_[node] = head_less(heads_[right], heads_[left]) ? right : left;
  }

  MergeInput* const inputs_;
  const unsigned leaves_;
  bool starved_ = false;
  Head<words> heads_[merge_inputs_max] = {};
  uint32_t nodes_[2 * merge_inputs_max] = {};
};

template <unsigned words>
size_t merge(MergeInput* inputs, unsigned count, uint32_t* target, size_t room) {
  Tournament<words> tournament(inputs, count);
  return tournament.merge(reinterpret_cast<Entry<words>*>(target), room);
}

}  // namespace

size_t merge_entries(MergeInput* inputs, unsigned count, unsigned words, uint32_t* target,
                     size_t room) {
  CHECK(count > 0 && count <= merge_inputs_max);
  CHECK(words == entry_words_short || words == entry_words_long);
  for (unsigned index = 0; index < count; index += 1) {
    CHECK(inputs[index].at <= inputs[index].end);
    CHECK((inputs[index].end - inputs[index].at) % words == 0);
  }
  return words == entry_words_short ? merge<entry_words_short>(inputs, count, target, room)
                                    : merge<entry_words_long>(inputs, count, target, room);
}

}  // namespace pacioli
