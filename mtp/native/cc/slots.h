// What the kernels share: vectors, slots of a canvas, and tiles that go to XLA's threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace mtp {

namespace ffi = xla::ffi;

using Map = ffi::Buffer<ffi::F32, 4>;
using PictureSizes = ffi::Buffer<ffi::S32, 2>;

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
constexpr int64_t kInline = 100000;  // products below which waking another thread costs more than it saves

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// Only the first `count` numbers; apart, so that whole vectors are one instruction.
inline void store(float* to, Vector v, int64_t count) {
  if (count >= kLanes) return store(to, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (1u << count) - 1, reinterpret_cast<__m512>(v));  // a call of memcpy costs many times more
#else
  std::memcpy(to, &v, count * sizeof(float));
#endif
}

// The first `count` numbers, then zeros.
inline Vector load(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(_mm512_maskz_loadu_ps((1u << count) - 1, from));
#else
  Vector v = {};
  std::memcpy(&v, from, count * sizeof(float));
  return v;
#endif
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Valid heights and widths of a batch's pictures, (B, 2).
typedef const int32_t* Sizes;

// The rows of one slot of a map. Pixels above `top` and left of `left` lie outside its picture.
struct Slot {
  const float* data;
  int64_t height, width, top, left;

  const float* row(int64_t h, int64_t channels) const {
    return h < top || h >= height ? nullptr : data + h * width * channels;
  }
};

// Slot b of a map, of which the picture of this size fills the bottom-right corner.
inline Slot picture_slot(const float* map, int64_t height, int64_t width, int64_t channels, Sizes sizes, int64_t b) {
  const int64_t rows = std::clamp<int64_t>(sizes[2 * b], 0, height);
  const int64_t columns = std::clamp<int64_t>(sizes[2 * b + 1], 0, width);
  return {map + b * height * width * channels, height, width, height - rows, width - columns};
}

// NaN stays NaN, as in jax.nn.relu.
inline Vector rectified(Vector v) { return v < 0 ? Vector{} : v; }

// max(v, 0), but at most the ceiling; NaN stays NaN here, too.
inline Vector rectified(Vector v, Vector ceiling) {
  v = rectified(v);
  return v > ceiling ? ceiling : v;
}

inline void rectify(float* to, const float* from, int64_t length) {
  for (int64_t t = 0; t < length; t += kLanes) store(to + t, rectified(load(from + t, length - t)), length - t);
}

// Each thread keeps its scratch, which begins with a line of the cache: fresh pages for every call would cost as much
// as the arithmetic.
inline float* scratch(int64_t size) {
  struct alignas(64) Line {
    float numbers[16];
  };
  static thread_local std::vector<Line> buffer;
  const size_t lines = ceil_div(size, 16);
  if (buffer.size() < lines) buffer.resize(lines);
  return buffer.data()->numbers;
}

// Calls body(tile) for all tiles, here from the first on and on idle threads of XLA's pool from the last on: the tiles
// of one picture mostly fall to one core, whose cache holds what the operation before wrote of it. The caller takes
// tiles like everyone else and waits only for tiles that have begun, so a pool whose threads all sit in this function
// cannot lock up.
inline void for_each_tile(ffi::ThreadPool& pool, int64_t tiles, int64_t products,
                          const std::function<void(int64_t)>& body) {
  struct Progress {
    std::atomic<int64_t> taken{0}, helped{0}, done{0};
  };
  auto progress = std::make_shared<Progress>();
  auto help = [progress, tiles, &body] {
    for (; progress->taken.fetch_add(1) < tiles; progress->done.fetch_add(1))
      body(tiles - 1 - progress->helped.fetch_add(1));
  };
  const int64_t helpers = products < kInline ? 0 : std::min(pool.num_threads(), tiles) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(help));
  for (int64_t tile = 0; progress->taken.fetch_add(1) < tiles; progress->done.fetch_add(1)) body(tile++);
  while (progress->done.load() < tiles) std::this_thread::yield();
}

// Where blocks of `size` begin in `length`; the last one early enough to be whole, so that some is written twice.
template <typename F>
inline void for_each_block(int64_t length, int64_t size, F f) {
  for (int64_t block = 0; block < length; block += size) f(std::min(block, length - size));
}

// Every slot's rows cut into tiles: enough to share out, of at least `least` rows, so that what each tile costs
// besides its rows stays small.
struct Tiling {
  int64_t chunks, rows, height, tiles;

  Tiling(int64_t batch, int64_t height, int64_t most, int64_t least) : height(height) {
    const int64_t wanted = std::max(ceil_div(height, most), ceil_div(8, batch));
    rows = std::max<int64_t>(std::min<int64_t>(height, least), ceil_div(height, wanted));
    chunks = ceil_div(height, rows);
    tiles = batch * chunks;
  }
  int64_t slot(int64_t tile) const { return tile / chunks; }
  int64_t first(int64_t tile) const { return tile % chunks * rows; }
  int64_t last(int64_t tile) const { return std::min(first(tile) + rows, height); }
};

inline std::string text(ffi::Span<const int64_t> shape) {
  std::string result = "(";
  for (const int64_t side : shape) result += (result.size() > 1 ? ", " : "") + std::to_string(side);
  return result + ")";
}

// Whether there is a height and a width for each slot of a map.
inline ffi::Error check_sizes(const std::string& operation, int64_t batch, ffi::Span<const int64_t> sizes) {
  if (sizes[0] == batch && sizes[1] == 2) return ffi::Error::Success();
  return ffi::Error::InvalidArgument(operation + ": the pictures' sizes must be (" + std::to_string(batch) +
                                     ", 2); they are " + text(sizes));
}

// Whether there is a height and a width for each slot of a map x, and the others are maps of half its sides.
inline ffi::Error check_halves(const std::string& operation, ffi::Span<const int64_t> x, ffi::Span<const int64_t> sizes,
                               ffi::Span<const int64_t> first, ffi::Span<const int64_t> second) {
  if (auto error = check_sizes(operation, x[0], sizes); error.failure()) return error;
  for (const auto& half : {first, second})
    if (half[0] != x[0] || half[1] != ceil_div(x[1], 2) || half[2] != ceil_div(x[2], 2) || half[3] != x[3])
      return ffi::Error::InvalidArgument(operation + ": a half of a map " + text(x) + " cannot be " + text(half));
  return ffi::Error::Success();
}

}  // namespace mtp
