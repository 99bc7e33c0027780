// Scores photographs with an exported detector: Verdict model.onnx photograph.ppm ...
// Needs the package Microsoft.ML.OnnxRuntime. Compile it together with Frame.cs.
using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

static class Verdict
{
    static string Word(byte[] file, ref int place)
    {
        int first = place;
        while (place < file.Length && file[place] > ' ') place++;
        return Encoding.ASCII.GetString(file, first, place++ - first); // one space ends each word of the header
    }

    static Photo ReadPpm(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        int place = 0;
        if (Word(file, ref place) != "P6") throw new InvalidDataException(path + " is not a binary PPM of 8 bits");
        int width = int.Parse(Word(file, ref place)), height = int.Parse(Word(file, ref place));
        if (Word(file, ref place) != "255") throw new InvalidDataException(path + " is not a binary PPM of 8 bits");
        if (file.Length - place < 3 * width * height) throw new InvalidDataException(path + " is not whole");
        return new Photo { Height = height, Width = width, Rgb = file.Skip(place).Take(3 * width * height).ToArray() };
    }

    static int Main(string[] words)
    {
        try
        {
            var options = new SessionOptions { IntraOpNumThreads = 1 };
            using (var session = new InferenceSession(words[0], options))
            {
                string json = session.ModelMetadata.CustomMetadataMap["padim_nb"], mark = "\"threshold\": "; // the last
                if (!json.Contains("\"crop\": null, \"resample\": \"bilinear\"")) throw new InvalidDataException("another frame");
                string last = json.Substring(json.LastIndexOf(mark) + mark.Length).TrimEnd('}');
                float threshold = float.Parse(last, CultureInfo.InvariantCulture);
                int[] shape = session.InputMetadata["images"].Dimensions; // batch, height, width, 3
                foreach (string path in words.Skip(1))
                {
                    byte[] pixels = Frame.Apply(ReadPpm(path), shape[1], shape[2]);
                    var image = new DenseTensor<byte>(pixels, new[] { 1, shape[1], shape[2], 3 });
                    var inputs = new[] { NamedOnnxValue.CreateFromTensor("images", image) };
                    using (var outputs = session.Run(inputs, new[] { "score" }))
                    {
                        float score = outputs.First().AsEnumerable<float>().First();
                        string verdict = score > threshold ? "defective" : "good     ";
                        Console.WriteLine(string.Format(CultureInfo.InvariantCulture, "{0:F6} {1}  {2}", score, verdict, path));
                    }
                }
            }
            return 0;
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("Verdict: " + error.Message);
            return 2;
        }
    }
}
