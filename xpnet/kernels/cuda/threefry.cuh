// Threefry-2x32 with 20 rounds: the words of xpnet/random.py, for a key and a pair of counters, which they replace.

__device__ void threefry2x32(unsigned k0, unsigned k1, unsigned& x0, unsigned& x1)
{
    const unsigned keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDA};
    const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    x0 += k0, x1 += k1;
    for (int group = 0; group < 5; ++group) {
        for (int round = 0; round < 4; ++round) {
            int places = rotations[group % 2][round];
            x0 += x1;
            x1 = (x1 << places | x1 >> (32 - places)) ^ x0;
        }
        x0 += keys[(group + 1) % 3];
        x1 += keys[(group + 2) % 3] + group + 1;
    }
}
