// Random crops, mirrors and cutouts of images (N, H, W, C), composed: one block for each image.

#include "threefry.cuh"

#ifndef TYPE
#define TYPE float  // of a pixel
#endif
const int MOST = 8;         // augmentations
const int UNUSED_BITS = 8;  // of a random word

enum Kind { CROP, FLIP, CUTOUT };

// In the order in which the augmentations are applied. A size is a crop's padding or a cutout's side; an own key is
// folded from the given one by the number, unless that is negative.
struct Augmentations { int count; int kind[MOST]; int size[MOST]; int number[MOST]; };

// What xpnet.random draws for one image: random_bits(fold_in(key, number), (images, 1, 1)) % choices
__device__ int draw(unsigned k0, unsigned k1, int number, int image, int images, int choices)
{
    unsigned a = number, b = 0;
    threefry2x32(k0, k1, a, b);
    int pairs = (images + 1) / 2;
    unsigned first = image % pairs, second = 1;
    threefry2x32(a, b, first, second);
    return ((image < pairs ? first : second) >> UNUSED_BITS) % choices;
}

__device__ int modulo(int a, int b) { return (a % b + b) % b; }

extern "C" __global__ void augment(
    const TYPE* images, const int* key, TYPE* augmented, Augmentations all, int height, int width, int channels,
    int is_for_rows)  // whether the key is that of some rows of a batch: their first number and the batch's size follow
{
    __shared__ int rows[MOST], columns[MOST];  // by how much, where to, or whether
    int image = blockIdx.x, step = threadIdx.x;
    if (step < all.count) {
        unsigned k0 = key[0], k1 = key[1];
        if (all.number[step] >= 0) {
            unsigned a = all.number[step], b = 0;
            threefry2x32(k0, k1, a, b);
            k0 = a, k1 = b;
        }
        int count = is_for_rows ? key[3] : gridDim.x, number = is_for_rows ? key[2] + image : image;
        int size = all.size[step];
        if (all.kind[step] == CROP) {
            rows[step] = draw(k0, k1, 3, number, count, 2 * size + 1) - size;
            columns[step] = draw(k0, k1, 4, number, count, 2 * size + 1) - size;
        } else if (all.kind[step] == FLIP) {
            columns[step] = draw(k0, k1, 2, number, count, 2);
        } else {
            rows[step] = draw(k0, k1, 0, number, count, height) - size / 2;
            columns[step] = draw(k0, k1, 1, number, count, width) - size / 2;
        }
    }
    __syncthreads();

    long long start = (long long)image * height * width * channels;
    for (int i = threadIdx.x; i < height * width * channels; i += blockDim.x) {
        int c = i % channels, column = i / channels % width, row = i / channels / width;
        bool is_visible = true;
        for (int step = all.count - 1; step >= 0; --step) {  // the last one says first where its pixels come from
            int size = all.size[step], y = row - rows[step], x = column - columns[step];
            if (all.kind[step] == CROP) {
                row += rows[step], column += columns[step];
                is_visible &= row >= 0 && row < height && column >= 0 && column < width;
            } else if (all.kind[step] == FLIP) {
                column = columns[step] ? width - 1 - column : column;
            } else {
                is_visible &= y < 0 || y >= size || x < 0 || x >= size;
            }
        }
        TYPE pixel = images[start + (modulo(row, height) * width + modulo(column, width)) * channels + c];
        augmented[start + i] = pixel * (TYPE)is_visible;
    }
}
