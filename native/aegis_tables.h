// AES tables and the state after setup, all computed by the compiler from their definitions.
#pragma once

#include <array>
#include <cstdint>

#include "aegis.h"

namespace pacioli {

// A block is four columns; a column is a little-endian word, row 0 in its lowest byte.
struct alignas(16) AegisBlock {
  uint32_t columns[4];
};
static_assert(sizeof(AegisBlock) == 16);

struct alignas(16) AegisState {
  AegisBlock blocks[8];
};
static_assert(sizeof(AegisState) == 128);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read as little-endian words");

struct AesTables {
  // SubBytes and MixColumns of a byte in row r, as a column.
  std::array<std::array<uint32_t, 256>, 4> rows{};
};

constexpr AesTables make_aes_tables() {
  AesTables tables;
  auto put = [&tables](uint8_t input, uint8_t output) {
    const uint32_t doubled = ((output << 1) ^ (output & 0x80 ? 0x11b : 0)) & 0xff;
    const uint32_t column = doubled | (uint32_t{output} << 8) | (uint32_t{output} << 16) |
                            ((doubled ^ output) << 24);
    for (int row = 0; row < 4; row += 1) {
      const int shift = 8 * row;
      tables.rows[row][input] = row == 0 ? column : (column << shift) | (column >> (32 - shift));
    }
  };
  // The S-box from its definition: the inverse in GF(2^8), walked by the generator 3, then affine.
  uint8_t power = 1;
  uint8_t inverse = 1;
  for (int count = 0; count < 255; count += 1) {
    power = static_cast<uint8_t>(power ^ (power << 1) ^ (power & 0x80 ? 0x1b : 0));
    inverse = static_cast<uint8_t>(inverse ^ (inverse << 1));
    inverse = static_cast<uint8_t>(inverse ^ (inverse << 2));
    inverse = static_cast<uint8_t>(inverse ^ (inverse << 4));
    if (inverse & 0x80) inverse ^= 0x09;
    const uint32_t twice = inverse | (uint32_t{inverse} << 8);
    const uint32_t affine = inverse ^ (twice >> 7) ^ (twice >> 6) ^ (twice >> 5) ^ (twice >> 4);
    put(power, static_cast<uint8_t>(affine ^ 0x63));
  }
  put(0, 0x63);  // Zero has no inverse.
  return tables;
}

inline constexpr AesTables aes_tables = make_aes_tables();

// One forward AES round, then XOR of `key`.
constexpr AegisBlock aes_round(const AegisBlock& in, const AegisBlock& key) {
  AegisBlock out{};
  for (int j = 0; j < 4; j += 1) {
    out.columns[j] = aes_tables.rows[0][in.columns[j] & 0xff] ^
                     aes_tables.rows[1][(in.columns[(j + 1) & 3] >> 8) & 0xff] ^
                     aes_tables.rows[2][(in.columns[(j + 2) & 3] >> 16) & 0xff] ^
                     aes_tables.rows[3][in.columns[(j + 3) & 3] >> 24] ^ key.columns[j];
  }
  return out;
}

constexpr AegisBlock block_xor(const AegisBlock& a, const AegisBlock& b) {
  return {{a.columns[0] ^ b.columns[0], a.columns[1] ^ b.columns[1], a.columns[2] ^ b.columns[2],
           a.columns[3] ^ b.columns[3]}};
}

constexpr void aegis_update(AegisState& state, const AegisBlock& a, const AegisBlock& b) {
  // From S7 down to S0, so that each round still sees its left neighbour's old value.
  const AegisBlock last = state.blocks[7];
  for (int index = 7; index > 0; index -= 1) {
    state.blocks[index] = aes_round(state.blocks[index - 1], state.blocks[index]);
  }
  state.blocks[0] = block_xor(aes_round(last, state.blocks[0]), a);
  state.blocks[4] = block_xor(state.blocks[4], b);
}

constexpr AegisState make_aegis_start() {
  constexpr AegisBlock zero{};
  constexpr AegisBlock c1{{0x55183ddb, 0xf12fc26d, 0x42311120, 0xdd28b573}};
  constexpr AegisBlock c2{{0x02010100, 0x0d080503, 0x59372215, 0x6279e990}};
  AegisState state{{zero, c1, c2, c1, zero, c2, c1, c2}};
  for (int count = 0; count < aegis_setup_updates; count += 1) aegis_update(state, zero, zero);
  return state;
}

// The state after setup with zero key and nonce: where every checksum begins.
inline constexpr AegisState aegis_start = make_aegis_start();

}  // namespace pacioli
