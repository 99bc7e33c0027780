// A photograph in the detector's frame, byte for byte as Pillow's bilinear filter gives it to Python. The filter is a
// triangle as wide as the shrinking: it averages every pixel it covers. Whole numbers, rounded along rows, then columns.
using System;

class Photo
{
    public int Height, Width;
    public byte[] Rgb;
}

static class Frame
{
    public static byte[] Apply(Photo photo, int height, int width)
    {
        var rows = new byte[3 * photo.Height * width];
        var image = new byte[3 * height * width];
        ResizeLines(photo.Rgb, rows, photo.Height, photo.Width, width, 3, 3 * photo.Width, 3, 3 * width);
        ResizeLines(rows, image, width, photo.Height, height, 3 * width, 3, 3 * width, 3);
        return image;
    }

    // Shrinks (or enlarges) lines of `from` pixels to `to`; `step` lies between the pixels of a line, `next` between lines.
    static void ResizeLines(byte[] input, byte[] output, int lines, int from, int to, int step, int next, int outStep, int outNext)
    {
        double scale = (double)from / to, reach = Math.Max(scale, 1);
        for (int i = 0; i < to; i++)
        {
            double center = (i + 0.5) * scale, sum = 0;
            int first = Math.Max(0, (int)(center - reach + 0.5)), last = Math.Min(from, (int)(center + reach + 0.5));
            var weights = new double[last - first];
            for (int k = first; k < last; k++) sum += weights[k - first] = Math.Max(0, 1 - Math.Abs((k - center + 0.5) / reach));
            for (int line = 0; line < lines; line++)
            {
                for (int color = 0; color < 3; color++)
                {
                    int total = 1 << 21; // one half, of 22 bits
                    for (int k = first; k < last; k++)
                        total += (int)(0.5 + weights[k - first] / sum * (1 << 22)) * input[line * next + k * step + color];
                    output[line * outNext + i * outStep + color] = (byte)Math.Min(Math.Max(total >> 22, 0), 255);
                }
            }
        }
    }
}
