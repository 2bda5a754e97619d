// What inference does between two maps in one go, as handlers of XLA's foreign function interface: layers of ReLU,
// depthwise and pointwise convolution and batch norm; inverted residuals; ReLU or not, pointwise convolution and batch
// norm; the stem; and what XLA would do on one thread: pools, and sums of maps and averages joined to one map.
// Batch norm by running statistics is y * scale + shift.
//
// A tile's rows stay in the cache between the steps, so that of a whole layer only its input is read from memory and
// only its result written. Rows above a picture are zeros without being computed.

#include "correlate.h"
#include "product.h"

namespace {

using namespace mtp;

using Mixing = ffi::Buffer<ffi::F32, 2>;
using Channels = ffi::Buffer<ffi::F32, 1>;

constexpr int64_t kCost = 8;  // of a number that is copied, in products

// The part of a tile that lies in its picture: rows from `first` on, of which the columns from `left` on.
struct Inside {
  int64_t first, rows, left, columns;
};

Inside inside(const Slot& slot, int64_t first, int64_t last) {
  const int64_t left = std::min(slot.left, slot.width);
  const int64_t top = std::clamp(left == slot.width ? last : slot.top, first, last);
  return {top, last - top, left, slot.width - left};
}

// Writes zeros to the rest of the tile, of a map y of one slot.
void clear_outside(const Inside& part, int64_t first, int64_t features, float* y) {
  const int64_t row = (part.left + part.columns) * features;
  std::fill_n(y + first * row, (part.first - first) * row, 0.0f);
  for (int64_t r = 0; r < part.rows; ++r) std::fill_n(y + (part.first + r) * row, part.left * features, 0.0f);
}

// One of the separable layers of a map: what it is made of, what is added to its result, or null, and the result.
struct Layer {
  int64_t window;
  Taps taps;
  Matrix matrix;
  Affine affine;
  const float* onto;
  float* y;

  int64_t products(int64_t pixels) const { return pixels * matrix.channels * (window * window + matrix.features); }
};

// Where a picture lies in the result of a slot: of stride 2, the rows from the bottom are halved as the sizes are.
Slot strided(const Shape& s, const Slot& slot) {
  return {nullptr, s.out_height, s.out_width, s.out_height - ceil_div(s.height - slot.top, s.stride),
          s.out_width - ceil_div(s.width - slot.left, s.stride)};
}

// Layers that read the same padded rows; s has the largest of their windows.
void separable(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const std::vector<Layer>& layers) {
  const Padded layout{nullptr, s.channels, s.left, padded_width(s)};
  const Tiling tiling(s.batch, s.out_height, most_rows(s.stride * layout.row()), 2 * kRows);
  const int64_t pixel = layout.pixel();
  int64_t products = 0;
  for (const Layer& layer : layers) products += layer.products(s.batch * s.out_height * s.out_width);
  for_each_tile(pool, tiling.tiles, products, [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), last = tiling.last(tile);
    const Slot slot = input_slot(s, x, sizes, b);
    const Slot out = strided(s, slot);
    const Inside part = inside(out, tiling.first(tile), last);
    for (const Layer& layer : layers) {
      const int64_t features = layer.matrix.features;
      clear_outside(part, tiling.first(tile), features, layer.y + b * s.out_height * s.out_width * features);
    }
    if (part.rows == 0) return;
    const int64_t count = (part.rows - 1) * s.stride + s.window, filtered_row = part.columns * pixel;
    const Padded padded = layout.in(scratch(count * layout.row() + part.rows * filtered_row));
    float* filtered = padded.data + count * padded.row();
    padded.fill_rows(slot, part.first * s.stride - s.top, count, true);
    for (const Layer& layer : layers) {
      const int64_t offset = (s.window - layer.window) / 2, features = layer.matrix.features;
      dispatch(layer.window, s.stride, [&](auto k, auto step) {
        correlate<step(), k(), k()>(padded.at(offset, offset + part.left * step()), padded.row(), layer.taps,
                                    {filtered, filtered_row, pixel, part.columns}, part.rows);
      });
      const int64_t at = ((b * s.out_height + part.first) * s.out_width + part.left) * features;
      multiply({filtered, pixel, part.columns}, part.rows, layer.matrix, layer.affine,
               layer.onto ? layer.onto + at : nullptr, layer.y + at, part.left * features);
    }
  });
}

// An inverted residual: an expansion or none, taps that hold the batch norm's scale, its shift, a projection, what is
// added to the result, or null, and the result.
struct Residual {
  std::optional<Matrix> expansion;
  Affine expanded;
  Taps taps, shift;
  Matrix projection;
  Affine projected;
  const float* onto;
  float* y;

  // Of a pixel before the stride and of one behind it.
  int64_t products_before() const { return expansion ? expansion->channels * expansion->features : 0; }
  int64_t products_behind(int64_t window) const {
    return projection.channels * (window * window + projection.features);
  }
};

// min(max(x + shift, 0), ceiling) of pixels without a gap, in place.
void shift_and_clip(float* x, int64_t pixels, const Taps& shift, float ceiling) {
  const int64_t pixel = shift.pixel();
  const Vector most = Vector{} + ceiling;
  for (const float* const end = x + pixels * pixel; x != end; x += pixel)
    for (int64_t c = 0; c < pixel; c += kLanes)
      store(x + c, rectified(load(x + c) + load(shift.values.data() + c), most));
}

// Rows of the expanded map with the zeros around them: `count` from row `first` of the slot on, into rows from `index`
// on of the padded ones; `place` has room for `count` rows of both maps.
//
// A product takes several pixels at once, and at the end of a row some of them twice: narrow rows are multiplied as one.
void expand(const Slot& slot, int64_t first, int64_t count, const Residual& residual, float ceiling,
            const Padded& padded, int64_t index, float* place) {
  constexpr int64_t kNarrow = 96;  // pixels
  const Matrix& matrix = *residual.expansion;
  const int64_t channels = matrix.channels, features = matrix.features, columns = slot.width - slot.left;
  const int64_t before = (padded.before + slot.left) * features, length = columns * features;
  const int64_t top = std::clamp(slot.top, first, first + count);
  const int64_t bottom = std::clamp(slot.height, top, first + count);
  const Vector most = Vector{} + ceiling;
  const float* whole = nullptr;  // the expanded rows, one behind the other
  if (columns < kNarrow && bottom > top) {
    const float* from = slot.row(top, channels) + slot.left * channels;
    float* const to = place + (bottom - top) * columns * channels;
    if (slot.left > 0) {
      for (int64_t h = top; h < bottom; ++h)
        std::copy_n(slot.row(h, channels) + slot.left * channels, columns * channels,
                    place + (h - top) * columns * channels);
      from = place;
    }
    multiply({from, channels, columns}, bottom - top, matrix, residual.expanded, nullptr, to, 0);
    whole = to;
  }
  for (int64_t q = 0; q < count; ++q) {
    const int64_t h = first + q;
    float* const to = padded.data + (index + q) * padded.row();
    if (h < top || h >= bottom) {
      std::fill_n(to, padded.row(), 0.0f);
      continue;
    }
    std::fill_n(to, before, 0.0f);
    float* const inside = to + before;
    if (!whole)
      multiply({slot.row(h, channels) + slot.left * channels, channels, columns}, 1, matrix, residual.expanded, nullptr,
               inside, 0);
    const float* const row = whole ? whole + (h - top) * length : inside;
    for (int64_t t = 0; t < length; t += kLanes) store(inside + t, rectified(load(row + t), most));
    std::fill(inside + length, to + padded.row(), 0.0f);
  }
}

// s is of the expanded map, whose channels are whole vectors where there is an expansion; x is the map before it. A
// tile's rows are expanded a few at a time, and those that the next ones need again are kept.
void inverted_residual(ffi::ThreadPool& pool, const Shape& s, const float* x, int64_t channels, Sizes sizes,
                       const Residual& residual, float ceiling) {
  const Padded layout{nullptr, s.channels, s.left, padded_width(s)};
  const int64_t pixel = layout.pixel(), features = residual.projection.features, kept = s.window - s.stride;
  // a few rows' expanded map stays in the second-level cache
  const int64_t most = std::clamp<int64_t>(131072 / (s.stride * layout.row()), kRows, 2 * kRows);
  const Tiling tiling(s.batch, s.out_height, s.out_height, 2 * kRows);
  const int64_t products = s.batch * (s.height * s.width * residual.products_before() +
                                      s.out_height * s.out_width * residual.products_behind(s.window));
  for_each_tile(pool, tiling.tiles, products, [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), last = tiling.last(tile);
    const Slot slot = picture_slot(x, s.height, s.width, channels, sizes, b);
    const Slot out = strided(s, slot);
    const Inside part = inside(out, tiling.first(tile), last);
    clear_outside(part, tiling.first(tile), features, residual.y + b * s.out_height * s.out_width * features);
    if (part.rows == 0) return;
    const int64_t blocks = ceil_div(part.rows, most), rows = ceil_div(part.rows, blocks);
    const int64_t count = (rows - 1) * s.stride + s.window, filtered_row = part.columns * pixel;
    const int64_t pixels = count * (s.width - slot.left);
    const Padded padded = layout.in(scratch(count * layout.row() + rows * filtered_row + pixels * (channels + pixel)));
    float* const filtered = padded.data + count * padded.row();
    float* const place = filtered + rows * filtered_row;
    int64_t have = 0;  // rows at the beginning of the padded ones that are there already
    for (int64_t r = 0; r < part.rows; r += rows) {
      const int64_t now = std::min(rows, part.rows - r), need = (now - 1) * s.stride + s.window;
      const int64_t from = (part.first + r) * s.stride - s.top;
      if (residual.expansion) {
        expand(slot, from + have, need - have, residual, ceiling, padded, have, place);
      } else {
        const Vector limit = Vector{} + ceiling;
        for (int64_t q = have; q < need; ++q)
          padded.fill(q, slot, from + q, [limit](Vector v) { return rectified(v, limit); });
      }
      dispatch(s.window, s.stride, [&](auto k, auto step) {
        correlate<step(), k(), k()>(padded.at(0, part.left * step()), padded.row(), residual.taps,
                                    {filtered, filtered_row, pixel, part.columns}, now);
      });
      shift_and_clip(filtered, now * part.columns, residual.shift, ceiling);
      const int64_t at = ((b * s.out_height + part.first + r) * s.out_width + part.left) * features;
      multiply({filtered, pixel, part.columns}, now, residual.projection, residual.projected,
               residual.onto ? residual.onto + at : nullptr, residual.y + at, part.left * features);
      have = kept;
      std::memmove(padded.data, padded.data + (need - have) * padded.row(), have * padded.row() * sizeof(float));
    }
  });
}

// Pointwise convolution and batch norm, of max(x, 0) where it is rectified.
void projection(ffi::ThreadPool& pool, ffi::Span<const int64_t> shape, const float* x, Sizes sizes,
                const Matrix& matrix, const Affine& affine, bool rectified, float* y) {
  const int64_t batch = shape[0], height = shape[1], width = shape[2], channels = shape[3];
  const int64_t features = matrix.features;
  const Tiling tiling(batch, height, std::max<int64_t>(1, 65536 / (width * channels)), 1);
  for_each_tile(pool, tiling.tiles, batch * height * width * features * channels, [&](int64_t tile) {
    const int64_t b = tiling.slot(tile);
    const Slot slot = picture_slot(x, height, width, channels, sizes, b);
    const Inside part = inside(slot, tiling.first(tile), tiling.last(tile));
    clear_outside(part, tiling.first(tile), features, y + b * height * width * features);
    if (part.rows == 0) return;
    const int64_t at = part.first * width + part.left, length = part.columns * channels;
    Pixels pixels{slot.data + at * channels, channels, part.columns, part.left * channels};
    if (rectified) {
      float* const copy = scratch(part.rows * length);
      for (int64_t r = 0; r < part.rows; ++r) rectify(copy + r * length, pixels.data + r * width * channels, length);
      pixels = {copy, channels, part.columns};
    }
    multiply(pixels, part.rows, matrix, affine, nullptr, y + (b * height * width + at) * features,
             part.left * features);
  });
}

// A NaN stays one, as in jax.numpy.maximum.
inline Vector larger(Vector a, Vector b) { return (b > a) | (b != b) ? b : a; }

// Of the 3x3 window from `from` on, first down its columns.
inline Vector window_sum(const float* from, int64_t row, int64_t pixel) {
  auto column = [&](int64_t j) {
    const float* top = from + j * pixel;
    return load(top) + load(top + row) + load(top + 2 * row);
  };
  return column(0) + column(1) + column(2);
}

// The largest number and the average of each 3x3 window, stride 2, of a picture with zeros around it.
void strided_pools(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, float* largest, float* average) {
  const Padded layout{nullptr, s.channels, s.left, padded_width(s)};
  const Tiling tiling(s.batch, s.out_height, most_rows(2 * layout.row()), 1);
  for_each_tile(pool, tiling.tiles, kCost * s.batch * s.height * s.row(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), first = tiling.first(tile), rows = tiling.last(tile) - first;
    const Padded padded = layout.in(scratch((2 * rows + 1) * layout.row()));
    padded.fill_rows(input_slot(s, x, sizes, b), 2 * first - s.top, 2 * rows + 1, false);
    int64_t to = (b * s.out_height + first) * s.out_row();
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t w = 0; w < s.out_width; ++w, to += s.channels) {
        for (int64_t c = 0; c < s.channels; c += kLanes) {
          const float* from = padded.at(2 * r, 2 * w) + c;
          Vector most = load(from);
          for (int64_t i = 0; i < 3; ++i)
            for (int64_t j = 0; j < 3; ++j) most = larger(most, load(from + i * padded.row() + j * padded.pixel()));
          store(largest + to + c, most, s.channels - c);
          store(average + to + c, window_sum(from, padded.row(), padded.pixel()) * (1.0f / 9.0f), s.channels - c);
        }
      }
    }
  });
}

// One of the parts of a joined map: the sum of maps, and of the averages of maps as often as `times` says.
struct Sum {
  struct Averaged {
    const float* data;
    float times;
  };
  int64_t channels;
  std::vector<const float*> maps;
  std::vector<Averaged> averaged;
};

// Of n positions from the first on, how many of the three around one of them there are.
inline int64_t around(int64_t position, int64_t first, int64_t n) {
  return std::min(position + 2, n) - std::max(position - 1, first);
}

// Writes the sum to a tile of a joined map, whose pixels are `pixel` numbers.
void add_up(const Sum& sum, const Slot& slot, const Inside& part, int64_t b, float* to, int64_t pixel) {
  const int64_t channels = sum.channels, map = slot.height * slot.width * channels;
  const Padded layout{nullptr, channels, 1, slot.width + 2};
  const int64_t padded = (part.rows + 2) * layout.row();
  float* const place = scratch(sum.averaged.size() * padded);
  for (size_t i = 0; i < sum.averaged.size(); ++i) {
    const Slot from{sum.averaged[i].data + b * map, slot.height, slot.width, slot.top, slot.left};
    layout.in(place + i * padded).fill_rows(from, part.first - 1, part.rows + 2, false);
  }
  for (int64_t h = part.first; h < part.first + part.rows; ++h) {
    for (int64_t w = part.left; w < slot.width; ++w) {
      const int64_t at = (h * slot.width + w) * channels;
      const float share = 1.0f / (around(h, slot.top, slot.height) * around(w, slot.left, slot.width));
      const float* window = layout.in(place).at(h - part.first, w);
      for (int64_t c = 0; c < channels; c += kLanes) {
        Vector total = {};
        for (const float* map_data : sum.maps) total += load(map_data + b * map + at + c, channels - c);
        for (size_t i = 0; i < sum.averaged.size(); ++i)
          total += window_sum(window + i * padded + c, layout.row(), layout.pixel()) * share * sum.averaged[i].times;
        store(to + (h * slot.width + w) * pixel + c, total, channels - c);
      }
    }
  }
}

// The sums' channels one after another.
void join(ffi::ThreadPool& pool, const std::vector<Sum>& sums, Sizes sizes, ffi::Span<const int64_t> shape, float* y) {
  const int64_t batch = shape[0], height = shape[1], width = shape[2], features = shape[3], row = width * features;
  const Tiling tiling(batch, height, most_rows(row), 2 * kRows);
  for_each_tile(pool, tiling.tiles, kCost * batch * height * row, [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), last = tiling.last(tile);
    float* to = y + b * height * row;
    const Slot slot = picture_slot(to, height, width, features, sizes, b);
    const Inside part = inside(slot, tiling.first(tile), last);
    clear_outside(part, tiling.first(tile), features, to);
    if (part.rows == 0) return;
    for (const Sum& sum : sums) {
      add_up(sum, slot, part, b, to, features);
      to += sum.channels;
    }
  });
}

// The stem: 3x3 windows of three channels, stride 2, without padding. The first row and column of a window are the even
// ones of the canvas; patches are gathered for one product.
void stem(ffi::ThreadPool& pool, ffi::Span<const int64_t> shape, const float* x, Sizes sizes, const Matrix& matrix,
          const Affine& affine, float* y) {
  constexpr int64_t kWindow = 9;  // numbers of a window's row
  const int64_t batch = shape[0], height = shape[1], width = shape[2];
  const int64_t out_height = (height - 1) / 2, out_width = (width - 1) / 2, row = out_width * matrix.features;
  const Tiling tiling(batch, out_height, std::max<int64_t>(1, 65536 / row), 1);
  for_each_tile(pool, tiling.tiles, batch * out_height * row * 3 * kWindow, [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), last = tiling.last(tile);
    const Slot slot = picture_slot(x, height, width, 3, sizes, b);
    const Slot out{nullptr, out_height, out_width, slot.top / 2, slot.left == width ? out_width : slot.left / 2};
    const Inside part = inside(out, tiling.first(tile), last);
    float* to = y + b * out_height * row;
    clear_outside(part, tiling.first(tile), matrix.features, to);
    if (part.rows == 0) return;
    float* patch = scratch(part.rows * part.columns * 3 * kWindow);
    const float* patches = patch;
    for (int64_t h = part.first; h < last; ++h) {
      for (int64_t w = part.left; w < out_width; ++w) {
        for (int64_t r = 0; r < 3; ++r, patch += kWindow)
          std::memcpy(patch, slot.data + ((2 * h + r) * width + 2 * w) * 3, kWindow * sizeof(float));
      }
    }
    to += part.first * row + part.left * matrix.features;
    multiply({patches, 3 * kWindow, part.columns}, part.rows, matrix, affine, nullptr, to, part.left * matrix.features);
  });
}

ffi::Error check_product(ffi::Span<const int64_t> x, ffi::Span<const int64_t> matrix, ffi::Span<const int64_t> scale,
                         ffi::Span<const int64_t> shift, ffi::Span<const int64_t> y) {
  if (matrix[0] == x[3] && matrix[1] == y[3] && scale[0] == y[3] && shift[0] == y[3]) return ffi::Error::Success();
  return ffi::Error::InvalidArgument("separable: from " + text(x) + " to " + text(y) + " a matrix must be (C, F) and " +
                                     "scale and shift (F,); they are " + text(matrix) + ", " + text(scale) + " and " +
                                     text(shift));
}

// For each layer its kernel, matrix, scale, shift and what is added, and a result.
ffi::Error Separable(ffi::ThreadPool pool, Map x, PictureSizes sizes, ffi::RemainingArgs arguments,
                     ffi::RemainingRets results, int64_t stride) {
  constexpr size_t kParts = 5;
  const auto from = x.dimensions();
  if (arguments.size() != kParts * results.size())
    return ffi::Error::InvalidArgument("separable: each of " + std::to_string(results.size()) +
                                       " results needs 5 arguments; they are " + std::to_string(arguments.size()));
  std::vector<Layer> layers;
  int64_t largest = 3;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto kernel = arguments.get<Kernel>(kParts * i);
    const auto mixing = arguments.get<Mixing>(kParts * i + 1);
    const auto scale = arguments.get<Channels>(kParts * i + 2), shift = arguments.get<Channels>(kParts * i + 3);
    const auto onto = arguments.get<Map>(kParts * i + 4);
    auto y = results.get<Map>(i);
    if (!kernel || !mixing || !scale || !shift || !onto || !y)
      return ffi::Error::InvalidArgument("separable: a layer's arguments are of other ranks than (k, k, C), (C, F), " +
                                         std::string("(F,), (F,) and maps"));
    const auto to = (*y)->dimensions();
    const int64_t filtered[] = {to[0], to[1], to[2], from[3]};
    if (auto error = check_depthwise(from, sizes.dimensions(), kernel->dimensions(), {filtered, 4}, stride);
        error.failure())
      return error;
    if (auto error = check_product(from, mixing->dimensions(), scale->dimensions(), shift->dimensions(), to);
        error.failure())
      return error;
    const bool adds = onto->element_count() > 0;
    if (adds && !std::equal(to.begin(), to.end(), onto->dimensions().begin()))
      return ffi::Error::InvalidArgument("separable: what is added must be a map " + text(to) + " or empty; it is " +
                                         text(onto->dimensions()));
    if ((*y)->element_count() == 0) return ffi::Error::Success();
    const int64_t window = kernel->dimensions()[0];
    largest = std::max(largest, window);
    layers.push_back({window, all_taps(kernel->typed_data(), from[3], window),
                      Matrix(mixing->typed_data(), from[3], to[3], i), Affine{scale->typed_data(), shift->typed_data()},
                      adds ? onto->typed_data() : nullptr, (*y)->typed_data()});
  }
  separable(pool, Shape(from, largest, stride, true), x.typed_data(), sizes.typed_data(), layers);
  return ffi::Error::Success();
}

// The expansion's matrix, scale and shift, and the map that is added, may be empty.
ffi::Error InvertedResidual(ffi::ThreadPool pool, Map x, PictureSizes sizes, Mixing expansion, Channels expanded_scale,
                            Channels expanded_shift, Kernel kernel, Channels between, Mixing mixing, Channels scale,
                            Channels shift, Map onto, ffi::Result<Map> y, int64_t stride, float ceiling) {
  const auto from = x.dimensions(), to = y->dimensions();
  const bool expands = expansion.element_count() > 0;
  const int64_t wide = kernel.dimensions()[2];
  const int64_t whole[] = {from[0], from[1], from[2], wide}, filtered[] = {to[0], to[1], to[2], wide};
  const ffi::Span<const int64_t> map(whole, 4);
  if (auto error = check_depthwise(map, sizes.dimensions(), kernel.dimensions(), {filtered, 4}, stride);
      error.failure())
    return error;
  if (auto error = check_product(map, mixing.dimensions(), scale.dimensions(), shift.dimensions(), to);
      error.failure())
    return error;
  if (expands) {
    if (auto error = check_product(from, expansion.dimensions(), expanded_scale.dimensions(),
                                   expanded_shift.dimensions(), map);
        error.failure())
      return error;
  }
  const bool adds = onto.element_count() > 0;
  if ((!expands && from[3] != wide) || (expands && wide % kLanes != 0) || between.dimensions()[0] != wide ||
      (adds && !std::equal(to.begin(), to.end(), onto.dimensions().begin())))
    return ffi::Error::InvalidArgument(
        "inverted residual: from " + text(from) + " to " + text(to) + " over a kernel " + text(kernel.dimensions()) +
        " an expansion must be to a multiple of " + std::to_string(kLanes) + " channels, the shift between " +
        std::to_string(wide) + " numbers, and what is added a map " + text(to) + " or empty");
  if (y->element_count() == 0) return ffi::Error::Success();
  const Shape s(map, kernel.dimensions()[0], stride, true);
  std::optional<Matrix> first;
  if (expands) first.emplace(expansion.typed_data(), from[3], wide, 0);
  Taps shifts(wide, 1);
  shifts.add(between.typed_data());
  const Residual residual{std::move(first),
                          {expanded_scale.typed_data(), expanded_shift.typed_data()},
                          all_taps(kernel.typed_data(), wide, s.window),
                          std::move(shifts),
                          Matrix(mixing.typed_data(), wide, to[3], 1),
                          {scale.typed_data(), shift.typed_data()},
                          adds ? onto.typed_data() : nullptr,
                          y->typed_data()};
  inverted_residual(pool, s, x.typed_data(), from[3], sizes.typed_data(), residual, ceiling);
  return ffi::Error::Success();
}

ffi::Error Projection(ffi::ThreadPool pool, Map x, PictureSizes sizes, Mixing mixing, Channels scale, Channels shift,
                      ffi::Result<Map> y, bool rectified) {
  const auto from = x.dimensions(), to = y->dimensions();
  if (auto error = check_sizes("projection", from[0], sizes.dimensions()); error.failure()) return error;
  if (!std::equal(from.begin(), from.begin() + 3, to.begin()))
    return ffi::Error::InvalidArgument("projection: maps " + text(from) + " and " + text(to) + " differ in size");
  if (auto error = check_product(from, mixing.dimensions(), scale.dimensions(), shift.dimensions(), to);
      error.failure())
    return error;
  if (y->element_count() == 0) return ffi::Error::Success();
  const Matrix matrix(mixing.typed_data(), from[3], to[3]);
  const Affine affine{scale.typed_data(), shift.typed_data()};
  projection(pool, from, x.typed_data(), sizes.typed_data(), matrix, affine, rectified, y->typed_data());
  return ffi::Error::Success();
}

// For each sum as many maps as `maps` says, then as many whose averages are added as `averaged` says.
ffi::Error Join(ffi::ThreadPool pool, PictureSizes sizes, ffi::RemainingArgs arguments, ffi::Result<Map> y,
                ffi::Span<const int64_t> maps, ffi::Span<const int64_t> averaged) {
  const auto to = y->dimensions();
  if (auto error = check_sizes("join", to[0], sizes.dimensions()); error.failure()) return error;
  std::vector<Sum> sums;
  int64_t features = 0;
  size_t next = 0;
  for (size_t i = 0; i < maps.size() && i < averaged.size(); ++i) {
    Sum sum{};
    for (int64_t term = 0; term < maps[i] + averaged[i]; ++term) {
      const auto map = arguments.get<Map>(next++);
      if (map.has_error()) return map.error();
      const auto from = map->dimensions();
      if (!std::equal(from.begin(), from.begin() + 3, to.begin()) || (term > 0 && from[3] != sum.channels))
        return ffi::Error::InvalidArgument("join: maps " + text(from) + " and " + text(to) + " differ in size");
      sum.channels = from[3];
      if (term < maps[i]) {
        sum.maps.push_back(map->typed_data());
      } else if (!sum.averaged.empty() && sum.averaged.back().data == map->typed_data()) {
        ++sum.averaged.back().times;
      } else {
        sum.averaged.push_back({map->typed_data(), 1.0f});
      }
    }
    features += sum.channels;
    sums.push_back(sum);
  }
  if (features != to[3] || next != arguments.size())
    return ffi::Error::InvalidArgument("join: " + std::to_string(next) + " of " + std::to_string(arguments.size()) +
                                       " maps have " + std::to_string(features) + " channels together; of " +
                                       text(to) + " they must have " + std::to_string(to[3]));
  if (y->element_count() > 0) join(pool, sums, sizes.typed_data(), to, y->typed_data());
  return ffi::Error::Success();
}

ffi::Error StridedPools(ffi::ThreadPool pool, Map x, PictureSizes sizes, ffi::Result<Map> largest,
                        ffi::Result<Map> average) {
  if (auto error = check_halves("pools", x.dimensions(), sizes.dimensions(), largest->dimensions(),
                                average->dimensions());
      error.failure())
    return error;
  if (largest->element_count() == 0) return ffi::Error::Success();
  const Shape s(x.dimensions(), 3, 2, false);
  strided_pools(pool, s, x.typed_data(), sizes.typed_data(), largest->typed_data(), average->typed_data());
  return ffi::Error::Success();
}

ffi::Error Stem(ffi::ThreadPool pool, Map x, PictureSizes sizes, Map kernel, Channels scale,
                Channels shift, ffi::Result<Map> y) {
  const auto from = x.dimensions(), to = y->dimensions(), taps = kernel.dimensions();
  if (auto error = check_sizes("stem", from[0], sizes.dimensions()); error.failure()) return error;
  if (from[3] != 3 || taps[0] != 3 || taps[1] != 3 || taps[2] != 3 || taps[3] != to[3] || to[0] != from[0] ||
      to[1] != (from[1] - 1) / 2 || to[2] != (from[2] - 1) / 2 || scale.dimensions()[0] != to[3] ||
      shift.dimensions()[0] != to[3])
    return ffi::Error::InvalidArgument("stem: from " + text(from) + " to " + text(to) + " a kernel must be (3, 3, 3, " +
                                       "F) and scale and shift (F,); it is " + text(taps));
  if (y->element_count() == 0) return ffi::Error::Success();
  const Matrix matrix(kernel.typed_data(), 27, to[3]);
  const Affine affine{scale.typed_data(), shift.typed_data()};
  stem(pool, from, x.typed_data(), sizes.typed_data(), matrix, affine, y->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SeparableForward, Separable,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(InvertedResidualForward, InvertedResidual,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Mixing>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Kernel>()
                                  .Arg<Channels>()
                                  .Arg<Mixing>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Map>()
                                  .Ret<Map>()
                                  .Attr<int64_t>("stride")
                                  .Attr<float>("ceiling"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ProjectionForward, Projection,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Mixing>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Ret<Map>()
                                  .Attr<bool>("rectified"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(JoinForward, Join,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<PictureSizes>()
                                  .RemainingArgs()
                                  .Ret<Map>()
                                  .Attr<ffi::Span<const int64_t>>("maps")
                                  .Attr<ffi::Span<const int64_t>>("averaged"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(StridedPoolsForward, StridedPools,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Ret<Map>()
                                  .Ret<Map>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(StemForward, Stem,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Map>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Ret<Map>());
