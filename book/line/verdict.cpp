// Scores photographs with an exported detector: verdict model.onnx photograph.ppm ...
// g++ -std=c++17 -O2 verdict.cpp -I HEADERS -L LIBRARY -lonnxruntime -o verdict
#include <onnxruntime_cxx_api.h>

#include <array>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "frame.hpp"

Photo read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, largest = 0;
  file >> kind >> width >> height >> largest;
  if (!file || kind != "P6" || largest != 255) throw std::runtime_error(path + " is not a binary PPM of 8 bits");
  Photo photo{height, width, std::vector<uint8_t>(std::size_t(3) * height * width)};
  file.get();  // one space ends the header
  if (!file.read(reinterpret_cast<char*>(photo.rgb.data()), photo.rgb.size())) throw std::runtime_error(path + " is not whole");
  return photo;
}

int main(int count, char** words) try {
  if (count < 3) throw std::runtime_error("verdict model.onnx photograph.ppm ...");
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "verdict");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, words[1], options);
  Ort::AllocatorWithDefaultOptions allocator;
  const auto facts = session.GetModelMetadata().LookupCustomMetadataMapAllocated("padim_nb", allocator);
  const std::string json = facts ? facts.get() : "", mark = "\"threshold\": ";  // the last of the facts
  const auto place = json.rfind(mark);
  if (place == std::string::npos || json.compare(place + mark.size(), 4, "null") == 0) throw std::runtime_error("no threshold");
  if (json.find("\"crop\": null, \"resample\": \"bilinear\"") == std::string::npos) throw std::runtime_error("another frame");
  const float threshold = std::stof(json.substr(place + mark.size()));
  const auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();  // batch, height, width, 3
  const std::array<int64_t, 4> one{1, shape[1], shape[2], 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const char *inputs[] = {"images"}, *outputs[] = {"score"};
  for (int i = 2; i < count; i++) {
    auto pixels = framed(read_ppm(words[i]), int(one[1]), int(one[2]));
    auto image = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), one.data(), one.size());
    const float score = *session.Run(Ort::RunOptions{}, inputs, &image, 1, outputs, 1)[0].GetTensorData<float>();
    std::printf("%.6f %s  %s\n", score, score > threshold ? "defective" : "good     ", words[i]);
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "verdict: " << error.what() << "\n";
  return 2;
}
