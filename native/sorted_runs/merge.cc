// A tournament: the heads of the inputs meet in a tree, and each node keeps the loser of its match.
// When an input moves on, its next head meets the losers on its way up again, and whoever is left
// is the next entry. Who wins is not to be predicted, so a match is arithmetic, without branches.
// An input at its end plays on as an entry larger than all.
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
class Tournament {
 public:
  Tournament(MergeInput* inputs, unsigned count)
      : inputs_(inputs), leaves_(std::bit_ceil(count)) {
    for (unsigned index = 0; index < leaves_; index += 1) {
      if (index < count) {
        load(index);
      } else {
        heads_[index].ended = 1;
      }
    }
    winner_ = play(1);
  }

  size_t merge(Entry<words>* target, size_t room) {
    size_t written = 0;
    while (written < room && !starved_) {
      uint32_t winner = winner_;
      if (heads_[winner].ended != 0) break;
      MergeInput& input = inputs_[winner];
      std::memcpy(target + written, input.at, sizeof(Entry<words>));
      written += 1;
      input.at += words;
      load(winner);
      for (unsigned node = (leaves_ + winner) / 2; node > 0; node /= 2) {
        const uint32_t loser = losers_[node];
        const uint32_t change = (loser ^ winner) & -static_cast<uint32_t>(before(loser, winner));
        losers_[node] = loser ^ change;
        winner ^= change;
      }
      winner_ = winner;
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
  }

  // Whether the head of one input goes before that of another. Of equal ones, the earlier input's.
  bool before(uint32_t one, uint32_t other) const {
    const Head<words>& a = heads_[one];
    const Head<words>& b = heads_[other];
    bool smaller = one < other;
    smaller = (a.parts[0] < b.parts[0]) | ((a.parts[0] == b.parts[0]) & smaller);
    smaller = (a.parts[1] < b.parts[1]) | ((a.parts[1] == b.parts[1]) & smaller);
    if constexpr (words == entry_words_long) {
      smaller = (a.parts[2] < b.parts[2]) | ((a.parts[2] == b.parts[2]) & smaller);
    }
    return (a.ended < b.ended) | ((a.ended == b.ended) & smaller);
  }

  // Plays all matches below a node; returns the winner.
  uint32_t play(unsigned node) {
    if (node >= leaves_) return node - leaves_;
    const uint32_t left = play(2 * node);
    const uint32_t right = play(2 * node + 1);
    const bool left_wins = before(left, right);
    losers_[node] = left_wins ? right : left;
    return left_wins ? left : right;
  }

  MergeInput* const inputs_;
  const unsigned leaves_;
  bool starved_ = false;
  uint32_t winner_ = 0;
  Head<words> heads_[merge_inputs_max] = {};
  uint32_t losers_[merge_inputs_max] = {};
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
