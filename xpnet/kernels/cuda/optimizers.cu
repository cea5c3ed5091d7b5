// Optimizers on the flat vector theta: one thread for each parameter. Formulas, names and the order of operations are
// those of xpnet/optimizers/. What a step changes is written to new arrays.
//
// A factor of alpha (one number) or of lambda (one for each parameter) that lies on the device is given by its address;
// the address is 0 where the host has multiplied the factor in.

__device__ float times(float value, const float* factor, int i) { return factor ? value * factor[i] : value; }

// m = mu m + (1 - mu) g;  theta = theta - alpha (m + lambda theta)
extern "C" __global__ void moving_average(
    const float* theta, const float* gradient, const float* velocity, float* new_theta, float* new_velocity,
    float learning_rate, const float* schedule, float weight_decay, const float* decays,
    float mu, float one_minus_mu, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float alpha = times(learning_rate, schedule, 0), lambda = times(weight_decay, decays, i);
    float m = mu * velocity[i] + one_minus_mu * gradient[i];
    new_velocity[i] = m;
    new_theta[i] = theta[i] - alpha * (m + lambda * theta[i]);
}

// v = mu v - alpha (g + lambda theta);  theta = theta + v, or with Nesterov's look ahead
// theta = theta + mu v - alpha (g + lambda theta)
extern "C" __global__ void heavy_ball(
    const float* theta, const float* gradient, const float* velocity, float* new_theta, float* new_velocity,
    float learning_rate, const float* schedule, float weight_decay, const float* decays,
    float mu, int nesterov, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float alpha = times(learning_rate, schedule, 0), lambda = times(weight_decay, decays, i);
    float push = alpha * (gradient[i] + lambda * theta[i]);
    float v = mu * velocity[i] - push;
    new_velocity[i] = v;
    new_theta[i] = theta[i] + (nesterov ? mu * v - push : v);
}

// t = t + 1;  m = beta1 m + (1 - beta1) g;  s = beta2 s + (1 - beta2) g^2;  c = 1 - beta^t
// push = alpha sqrt(c2) / c1 m / (sqrt(s) + epsilon sqrt(c2))
// Adam:  g = g + lambda theta first;  theta = theta - push
// AdamW (decoupled):                  theta = theta - (push + alpha (lambda theta))
extern "C" __global__ void adam(
    const float* theta, const float* gradient, const float* gradients, const float* squares, const float* steps,
    float* new_theta, float* new_gradients, float* new_squares, float* new_steps,
    float learning_rate, const float* schedule, float weight_decay, const float* decays,
    float beta1, float one_minus_beta1, float log_beta1, float beta2, float one_minus_beta2, float log_beta2,
    float epsilon, int decoupled, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float alpha = times(learning_rate, schedule, 0), lambda = times(weight_decay, decays, i);
    float t = steps[0] + 1.0f;
    float g = decoupled ? gradient[i] : gradient[i] + lambda * theta[i];
    float m = beta1 * gradients[i] + one_minus_beta1 * g;
    float s = beta2 * squares[i] + one_minus_beta2 * g * g;
    float root = sqrtf(-expm1f(t * log_beta2)), rate = alpha * root / -expm1f(t * log_beta1);
    float push = rate * m / (sqrtf(s) + epsilon * root);
    new_gradients[i] = m;
    new_squares[i] = s;
    new_theta[i] = theta[i] - (decoupled ? push + alpha * (lambda * theta[i]) : push);
    if (i == 0) new_steps[0] = t;
}
