// A photograph in the detector's frame, byte for byte as Pillow's bilinear filter gives it to Python. The filter is a
// triangle as wide as the shrinking: it averages every pixel it covers. Whole numbers, rounded along rows, then columns.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

struct Photo { int height, width; std::vector<uint8_t> rgb; };

// Shrink (or enlarge) lines of `from` pixels to `to`; `step` lies between the pixels of a line, `next` between lines.
inline void resize_lines(const uint8_t* in, uint8_t* out, int lines, int from, int to, int in_step, int in_next, int out_step,
                         int out_next) {
  const double scale = double(from) / to, reach = std::max(scale, 1.0);
  for (int i = 0; i < to; i++) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, int(center - reach + 0.5)), last = std::min(from, int(center + reach + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int k = first; k < last; k++) {
      weights.push_back(std::max(0.0, 1 - std::abs((k - center + 0.5) / reach)));
      sum += weights.back();
    }
    for (int line = 0; line < lines; line++) {
      for (int color = 0; color < 3; color++) {
        int total = 1 << 21;  // one half, of 22 bits
        for (int k = first; k < last; k++) {
          const int weight = int(0.5 + weights[k - first] / sum * (1 << 22));
          total += weight * in[std::size_t(line) * in_next + std::size_t(k) * in_step + color];
        }
        out[std::size_t(line) * out_next + std::size_t(i) * out_step + color] = uint8_t(std::clamp(total >> 22, 0, 255));
      }
    }
  }
}

inline std::vector<uint8_t> framed(const Photo& photo, int height, int width) {
  std::vector<uint8_t> rows(std::size_t(3) * photo.height * width), image(std::size_t(3) * height * width);
  resize_lines(photo.rgb.data(), rows.data(), photo.height, photo.width, width, 3, 3 * photo.width, 3, 3 * width);
  resize_lines(rows.data(), image.data(), width, photo.height, height, 3 * width, 3, 3 * width, 3);
  return image;
}
