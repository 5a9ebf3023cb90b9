import { tf } from 'graft';

type Activation = (x: tf.Tensor2D) => tf.Tensor2D;

/** Hendrycks and Gimpel 2016, exact. */
const gelu: Activation = (x) => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));

/** The same by tanh. */
const geluTanh: Activation = (x) => {
  const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.mul(x, tf.square(x)))));
  return tf.mul(tf.mul(x, 0.5), tf.add(1, tf.tanh(inner)));
};

const silu: Activation = (x) => tf.mul(x, tf.sigmoid(x));
const leakyRelu: Activation = (x) => tf.leakyRelu(x, 0.01);

/** The activations that AdapterHub takes, by its names (those of transformers, and `leakyrelu`). */
export const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: tf.relu,
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  gelu_fast: geluTanh,
  quick_gelu: (x) => tf.mul(x, tf.sigmoid(tf.mul(x, 1.702))),
  swish: silu,
  silu,
  mish: (x) => tf.mul(x, tf.tanh(tf.softplus(x))),
  leakyrelu: leakyRelu,
  leaky_relu: leakyRelu,
  relu2: (x) => tf.square(tf.relu(x)),
  sigmoid: tf.sigmoid,
  tanh: tf.tanh,
  linear: (x) => x,
};
