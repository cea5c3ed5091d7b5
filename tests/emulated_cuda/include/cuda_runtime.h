// Empty: CuPy takes the folder that it is in for CUDA's headers.
#pragma once
