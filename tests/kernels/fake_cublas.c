/* cublasGemmEx on the host, column by column as its documentation has it: C = op(A) op(B), C being m x n, all by columns. */
#include <stddef.h>

typedef struct { void *stream, *workspace; size_t size; } Handle;
static Handle handle;
int last_sums; /* the compute type that the last product was asked for in */

int cublasCreate_v2(void **out) { *out = &handle; return 0; }
int cublasSetStream_v2(void *h, void *stream) { ((Handle *)h)->stream = stream; ((Handle *)h)->workspace = NULL; return 0; }
int cublasSetWorkspace_v2(void *h, void *space, size_t size) {
    ((Handle *)h)->workspace = space;
    ((Handle *)h)->size = size;
    return 0;
}

#define GEMM(name, matrix, factor)                                                                                     \
    static void name(int ta, int tb, int m, int n, int k, factor alpha, const matrix *a, int lda, const matrix *b,     \
                     int ldb, factor beta, matrix *c, int ldc) {                                                       \
        for (int j = 0; j < n; j++)                                                                                    \
            for (int i = 0; i < m; i++) {                                                                              \
                factor sum = 0;                                                                                        \
                for (int l = 0; l < k; l++)                                                                            \
                    sum += (factor)(ta ? a[l + i * lda] : a[i + l * lda]) * (tb ? b[j + l * ldb] : b[l + j * ldb]);    \
                c[i + j * ldc] = (matrix)(alpha * sum + (beta ? beta * c[i + j * ldc] : 0));                           \
            }                                                                                                          \
    }
GEMM(half_gemm, _Float16, float)
GEMM(single_gemm, float, float)
GEMM(double_gemm, double, double)

int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda,
                 const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int sums,
                 int algorithm) {
    last_sums = sums;
    if (h != &handle || !handle.stream || !handle.workspace || !handle.size) return 1;
    if (type_a != type_b || type_b != type_c || algorithm != -1) return 7;
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    if (type_a == 2 && sums == 68) half_gemm(ta, tb, m, n, k, *(float *)alpha, a, lda, b, ldb, *(float *)beta, c, ldc);
    else if (type_a == 0 && (sums == 68 || sums == 77))
        single_gemm(ta, tb, m, n, k, *(float *)alpha, a, lda, b, ldb, *(float *)beta, c, ldc);
    else if (type_a == 1 && sums == 70)
        double_gemm(ta, tb, m, n, k, *(double *)alpha, a, lda, b, ldb, *(double *)beta, c, ldc);
    else return 7;
    return 0;
}
