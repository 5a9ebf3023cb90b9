/** A tensor of the checkpoint: frozen in the engine, with a trained copy for each stack that thawed it. */
import { bytesOf, GraftError, tf, toFloat32, type Engine, type FreezeOptions, type FrozenWeight, type GraftableParameter, type Parameter, type Weight, type WeightDtype, type WeightSource } from 'graft';

/** tfjs variable names are global to the process. */
let thaws = 0;

export class LlamaParameter implements Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  /** As the checkpoint stores it, and as it is saved again. */
  readonly storedAs: WeightSource['dtype'];
  readonly #engine: Engine;
  readonly #keepAs: WeightDtype;
  readonly #trainedByStack = new Map<string, tf.Variable>();
  #base: FrozenWeight | tf.Tensor1D;

  /**
   * @param keepAs how the engine is to hold a matrix; a vector is held in float32
   * @param options of a matrix of the checkpoint; what is assigned later is held in memory
   */
  constructor(engine: Engine, source: WeightSource, keepAs: WeightDtype, options?: FreezeOptions) {
    this.name = source.name;
    this.shape = [...source.shape];
    this.size = source.shape.reduce((product, n) => product * n, 1);
    this.storedAs = source.dtype;
    this.#engine = engine;
    this.#keepAs = keepAs;
    this.#base = source.shape.length === 2 ? engine.freeze(source, keepAs, options) : tf.keep(tf.tensor1d(toFloat32(source)));
  }

  /** Whether a stack computes with a copy of its own. */
  isThawedIn(stack: string): boolean {
    return this.#trainedByStack.has(stack);
  }

  /** What a stack computes with: `[out, in]`. */
  matrix(stack: string | undefined): Weight {
    return (stack === undefined ? undefined : (this.#trainedByStack.get(stack) as tf.Tensor2D | undefined)) ?? (this.#base as FrozenWeight);
  }

  /** The same for a norm or a bias: `[n]`. */
  vector(stack: string | undefined): tf.Tensor1D {
    return (stack === undefined ? undefined : (this.#trainedByStack.get(stack) as tf.Tensor1D | undefined)) ?? (this.#base as tf.Tensor1D);
  }

  read(): tf.Tensor1D | tf.Tensor2D {
    return isMatrix(this.#base) ? this.#base.toTensor() : this.#base.clone();
  }

  /** As a stack's inject plugins see it. */
  in(stack: string): GraftableParameter {
    const { name, shape, size } = this;
    return { name, shape, size, read: () => this.read(), thaw: () => this.#thaw(stack), assign: (values) => this.assign(values) };
  }

  assign(values: tf.Tensor1D | tf.Tensor2D): void {
    if (values.shape.length !== this.shape.length || values.shape.some((n, axis) => n !== this.shape[axis])) {
      throw new GraftError('PARAMETER_SHAPE', `${this.name} is [${this.shape.join(', ')}]; it can't take values of shape [${values.shape.join(', ')}].`);
    }
    const before = this.#base;
    if (isMatrix(before)) {
      const bytes = bytesOf(values.dataSync<'float32'>(), 'F32');
      this.#base = this.#engine.freeze({ name: this.name, shape: this.shape, dtype: 'F32', bytes: () => bytes }, this.#keepAs);
    } else {
      this.#base = tf.keep(tf.tidy(() => tf.tensor1d(Float32Array.from(values.dataSync<'float32'>()))));
    }
    before.dispose();
  }

  /** Its values in the checkpoint's own type, for a file. */
  stored(): Uint8Array {
    const tensor = this.read();
    try {
      return bytesOf(tensor.dataSync<'float32'>(), this.storedAs);
    } finally {
      tensor.dispose();
    }
  }

  dispose(): void {
    this.#trainedByStack.forEach((variable) => variable.dispose());
    this.#trainedByStack.clear();
    this.#base.dispose();
  }

  #thaw(stack: string): ReturnType<GraftableParameter['thaw']> {
    if (this.#trainedByStack.has(stack)) {
      throw new GraftError('PARAMETER_THAWED', `${this.name} is trained by two strategies of the same run.`, { hint: 'Name it in one of them only.' });
    }
    const values = this.read();
    const variable = tf.variable(values, true, `llama-${thaws++}-${stack}-${this.name}`);
    values.dispose();
    this.#trainedByStack.set(stack, variable);
    return {
      variable,
      restore: () => {
        if (this.#trainedByStack.get(stack) === variable) this.#trainedByStack.delete(stack);
        variable.dispose();
      },
    };
  }
}

function isMatrix(base: FrozenWeight | tf.Tensor1D): base is FrozenWeight {
  return 'frozen' in base;
}
