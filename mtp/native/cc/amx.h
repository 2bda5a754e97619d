// Products by the matrix unit of recent Xeons (AMX), which multiplies bfloat16 numbers and sums in float32, sixteen
// times as many at once as vectors of float32.
//
// A float32 number of 24 significant bits is the sum of three bfloat16 numbers of 8 each, exactly. Of the nine products
// of two such sums the six largest are added up, what XLA calls BF16_BF16_F32_X6 and TPUs do for "highest" precision;
// the rest is smaller than float32's own rounding, and so is the error of the result. Unlike in float32, infinity
// times a number is NaN, and what lies 2^-110 and less from zero counts with fewer bits.

#pragma once

#include "panels.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BW__) && defined(__linux__)
#define MTP_AMX 1
#define MTP_INLINE __attribute__((always_inline)) inline
#include <sys/syscall.h>
#include <unistd.h>

namespace mtp {

constexpr int64_t kSide = 16;   // rows of a tile: pixels, or pairs of channels of a matrix; and columns of sums
constexpr int64_t kDepth = 32;  // channels of a tile
constexpr int64_t kParts = 3;   // bfloat16 numbers of a float32 one
constexpr int64_t kColumn = 2 * kSide * kSide;  // sums of two tiles, one above the other

struct alignas(64) TileRow {  // one that lies across two lines of the cache is read six times as slowly
  uint16_t numbers[kDepth];
};

// Whether Linux lets this process have the unit; asked once.
inline bool has_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}

// All eight registers are tiles of 16 rows of 64 bytes until the end of the scope.
struct TileRegisters {
  struct alignas(64) Shapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide};
  };

  TileRegisters() {
    static constexpr Shapes kShapes;
    _tile_loadconfig(&kShapes);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
};

// gcc's own intrinsics take only literal numbers for registers, and say nothing of the memory that they read
template <int Register>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Register));
}
template <int Register>
inline void tile_load(const TileRow* from, int64_t rows) {
  const int64_t stride = rows * sizeof(TileRow);
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(Register) : "memory");
}
template <int Register>
inline void tile_store(float* to) {
  constexpr int64_t kStride = kSide * sizeof(float);
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(kStride), "i"(Register) : "memory");
}
template <int Sum, int Left, int Right>
inline void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(Left), "i"(Right));
}

inline __mmask16 lanes(int64_t count) { return count >= kSide ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

inline __m512 upper_half(__m512 x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0xffff0000)));
}

// To the nearest number that is all in its upper half.
inline __m512 rounded(__m512 x) {
  return upper_half(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000))));
}

// The upper halves of two vectors in turn, as bfloat16.
inline void store_pairs(TileRow* to, __m512 first, __m512 second) {
  const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(first), 16);
  _mm512_store_si512(to, _mm512_or_si512(_mm512_castps_si512(upper_half(second)), low));
}

// A (C, F) matrix, and how many tiles of channels and of features it is. Of those that are used at the same time each
// has a place of its own.
struct Tiles {
  const float* from;
  int64_t channels, features, depth, width, place, number;

  Tiles(const float* from, int64_t channels, int64_t features, int64_t place)
      : from(from), channels(channels), features(features), depth(ceil_div(channels, kDepth)),
        width(ceil_div(features, kSide)), place(place) {
    static std::atomic<int64_t> made{0};
    number = ++made;
  }

  // Rows of tiles of 16 features.
  int64_t column() const { return depth * kParts * kSide; }

  // The matrix in the unit's order. Each thread makes it for itself: fetching what another core has just written takes
  // longer.
  const TileRow* ordered() const {
    struct Ordered {
      int64_t number = 0;
      std::vector<TileRow> rows;
    };
    static thread_local std::vector<Ordered> kept;
    if (static_cast<int64_t>(kept.size()) <= place) kept.resize(place + 1);
    Ordered& own = kept[place];
    if (own.number != number) {
      if (static_cast<int64_t>(own.rows.size()) < width * column()) own.rows.resize(width * column());
      order(own.rows.data());
      own.number = number;
    }
    return own.rows.data();
  }

 private:
  // For each 16 features, for each 32 channels, a tile of each part. Parts are rounded, so that what is left out has
  // either sign and cancels.
  void order(TileRow* to) const {
    for (int64_t n = 0; n < features; n += kSide) {
      const __mmask16 mask = lanes(features - n);
      auto row = [&](int64_t c) { return _mm512_maskz_loadu_ps(c < channels ? mask : 0, from + c * features + n); };
      for (int64_t c = 0; c < depth * kDepth; c += kDepth, to += kParts * kSide) {
        for (int64_t r = 0; r < kSide; ++r) {
          __m512 first = row(c + r), second = row(c + kSide + r);
          for (int64_t part = 0; part < kParts; ++part) {
            store_pairs(to + part * kSide + r, rounded(first), rounded(second));
            first -= rounded(first);
            second -= rounded(second);
          }
        }
      }
    }
  }
};

// Cuts pixels into rows of tiles: of each 32 channels the three parts one after another.
struct Cutting {
  const float* from;
  TileRow *to = nullptr, *end = nullptr;
  int64_t depth, columns, rest, gap;  // rest: from the last block of a pixel to the next pixel; gap: to the next row
  int64_t blocks_left, pixels_left;   // of the pixel, of the row
  __mmask16 first, second;            // lanes of the last block

  Cutting(const Pixels& x, int64_t channels, int64_t depth)
      : from(x.data), depth(depth), columns(x.columns), rest(x.stride - (depth - 1) * kDepth), gap(x.gap),
        blocks_left(depth), pixels_left(x.columns), first(lanes(channels - (depth - 1) * kDepth)),
        second(lanes(channels - (depth - 1) * kDepth - kSide)) {}

  int64_t row() const { return depth * kParts; }
  // Where the next pixels' rows go.
  void into(TileRow* rows, int64_t pixels) {
    to = rows;
    end = rows + pixels * row();
  }
  MTP_INLINE void block() {
    const bool last = --blocks_left == 0;
    __m512 a = _mm512_maskz_loadu_ps(last ? first : 0xffff, from);
    __m512 b = _mm512_maskz_loadu_ps(last ? second : 0xffff, from + kSide);
    store_pairs(to, a, b);
    a -= upper_half(a), b -= upper_half(b);
    store_pairs(to + 1, a, b);
    a -= upper_half(a), b -= upper_half(b);
    store_pairs(to + 2, a, b);
    to += kParts;
    from += last ? rest : kDepth;
    if (last) {
      blocks_left = depth;
      if (--pixels_left == 0) {
        pixels_left = columns;
        from += gap;
      }
    }
  }
  MTP_INLINE void blocks(int64_t most) {
    for (int64_t i = 0; i < most && to != end; ++i) block();
  }
};

// Makes results of the sums of up to three tiles beside one another, pixel by pixel.
struct Finishing {
  const float* sums = nullptr;
  float* y = nullptr;
  const float *scale = nullptr, *shift = nullptr, *onto = nullptr;
  int64_t features = 0, columns = 0, gap = 0;
  int64_t left = 0, pixels_left = 0, tiles = 0;  // of the sums, of the row
  __mmask16 last = 0;                            // lanes of the last tile

  Finishing() = default;
  Finishing(const float* sums, int64_t pixels, int64_t tiles, const Target& to, int64_t pixels_left)
      : sums(sums), y(to.y), scale(to.scale), shift(to.shift), onto(to.onto), features(to.features),
        columns(to.columns), gap(to.gap), left(pixels), pixels_left(pixels_left), tiles(tiles),
        last(lanes(to.width - (tiles - 1) * kSide)) {}

  MTP_INLINE void pixel() {
    for (int64_t n = 0; n < tiles; ++n) {
      const __mmask16 mask = n + 1 == tiles ? last : 0xffff;
      __m512 v = _mm512_load_ps(sums + n * kColumn) * _mm512_maskz_loadu_ps(mask, scale + n * kSide) +
                 _mm512_maskz_loadu_ps(mask, shift + n * kSide);
      if (onto) v += _mm512_maskz_loadu_ps(mask, onto + n * kSide);
      _mm512_mask_storeu_ps(y + n * kSide, mask, v);
    }
    sums += kSide;
    int64_t step = features;
    if (--pixels_left == 0) {
      pixels_left = columns;
      step += gap;
    }
    y += step;
    if (onto) onto += step;
    --left;
  }
  MTP_INLINE void some(int64_t most) {
    for (int64_t i = 0; i < most && left > 0; ++i) pixel();
  }
};

// Registers: sums from 0 on, pixels from 4 on, the matrix up to 7.
template <int M>
MTP_INLINE void load_pixels(const TileRow* from, int64_t row) {
  tile_load<4>(from, row);
  if constexpr (M > 1) tile_load<5>(from + kSide * row, row);
}
template <int N>
MTP_INLINE void load_matrix(const TileRow* from, int64_t column) {
  tile_load<8 - N>(from, 1);
  if constexpr (N > 1) tile_load<9 - N>(from + column, 1);
  if constexpr (N > 2) tile_load<10 - N>(from + 2 * column, 1);
}
template <int M, int N>
MTP_INLINE void add_products() {
  tile_multiply<0, 4, 8 - N>();
  if constexpr (N > 1) tile_multiply<1, 4, 9 - N>();
  if constexpr (N > 2) tile_multiply<2, 4, 10 - N>();
  if constexpr (M > 1) tile_multiply<N, 5, 8 - N>();
  if constexpr (M > 1 && N > 1) tile_multiply<N + 1, 5, 9 - N>();
}

// The sums of M tiles of pixels with N columns of tiles of the matrix, while vectors cut the next pixels and finish the
// sums before: the unit works beside them, but is fed only some hundred instructions ahead.
template <int M, int N>
MTP_INLINE void multiply_block(const TileRow* pixels, const TileRow* matrix, int64_t depth, float* sums,
                               Cutting& cutting, int64_t cuts, Finishing& finishing, int64_t finished) {
  const int64_t row = depth * kParts, column = depth * kParts * kSide;
  tile_zero<0>();
  if constexpr (M * N > 1) tile_zero<1>();
  if constexpr (M * N > 2) tile_zero<2>();
  if constexpr (M * N > 3) tile_zero<3>();
#define MTP_PRODUCTS add_products<M, N>(), cutting.blocks(cuts), finishing.some(finished)
  for (int64_t k = 0; k < depth; ++k, pixels += kParts, matrix += kParts * kSide) {
    load_matrix<N>(matrix + 2 * kSide, column), load_pixels<M>(pixels, row), MTP_PRODUCTS;
    load_matrix<N>(matrix + kSide, column), MTP_PRODUCTS;
    load_pixels<M>(pixels + 1, row), MTP_PRODUCTS;
    load_matrix<N>(matrix, column), MTP_PRODUCTS;
    load_pixels<M>(pixels + 2, row), MTP_PRODUCTS;
    load_pixels<M>(pixels, row), MTP_PRODUCTS;
  }
#undef MTP_PRODUCTS
  tile_store<0>(sums);
  if constexpr (N > 1) tile_store<1>(sums + kColumn);
  if constexpr (N > 2) tile_store<2>(sums + 2 * kColumn);
  if constexpr (M > 1) tile_store<N>(sums + kSide * kSide);
  if constexpr (M > 1 && N > 1) tile_store<N + 1>(sums + kColumn + kSide * kSide);
}

template <int M, int N>
void multiply_blocks(const Pixels& x, int64_t rows, const Tiles& matrix, const Target& to) {
  constexpr int64_t kAtOnce = M * kSide;
  static thread_local std::vector<TileRow> buffer;
  alignas(64) float sums[2][N * kColumn];
  const TileRow* ordered = matrix.ordered();
  const TileRegisters registers;
  Finishing finishing;
  Cutting cutting(x, matrix.channels, matrix.depth);
  const int64_t pixels = rows * x.columns, block = kAtOnce * cutting.row();
  if (static_cast<int64_t>(buffer.size()) < 2 * block) buffer.resize(2 * block);
  TileRow *now = buffer.data(), *next = now + block;
  const int64_t gaps = 6 * matrix.depth;  // between products
  const int64_t cuts = ceil_div(kAtOnce * matrix.depth, gaps * ceil_div(matrix.width, N));
  const int64_t finished = ceil_div(kAtOnce, gaps);
  cutting.into(now, std::min(kAtOnce, pixels));
  cutting.blocks(block);
  int turn = 0;
  for (int64_t p = 0; p < pixels; p += kAtOnce, std::swap(now, next)) {
    const int64_t count = std::min(kAtOnce, pixels - p), row = p / x.columns, column = p % x.columns;
    const Target here = to.moved(p * to.features + row * to.gap);
    cutting.into(next, std::clamp<int64_t>(pixels - p - kAtOnce, 0, kAtOnce));
    for (int64_t n = 0; n < matrix.width; n += N, turn = 1 - turn) {
      const int64_t across = std::min<int64_t>(N, matrix.width - n);
      const TileRow* columns = ordered + n * matrix.column();
#define MTP_BLOCK(m, n) \
  multiply_block<m, n>(now, columns, matrix.depth, sums[turn], cutting, cuts, finishing, finished)
      if constexpr (N == 3) MTP_BLOCK(1, 3);
      else if (count > kSide) across == 2 ? MTP_BLOCK(2, 2) : MTP_BLOCK(2, 1);
      else across == 2 ? MTP_BLOCK(1, 2) : MTP_BLOCK(1, 1);
#undef MTP_BLOCK
      finishing.some(kAtOnce);
      finishing = Finishing(sums[turn], count, across, here.from(n * kSide), x.columns - column);
    }
    cutting.blocks(block);
  }
  finishing.some(kAtOnce);
}

// As that of Panels. Three columns of tiles at once where there are no more, so that none is left over.
inline void multiply(const Pixels& x, int64_t rows, const Tiles& matrix, const Target& to) {
  matrix.width == 3 ? multiply_blocks<1, 3>(x, rows, matrix, to) : multiply_blocks<2, 2>(x, rows, matrix, to);
}

}  // namespace mtp

#endif
