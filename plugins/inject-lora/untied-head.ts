import { tf, type Disposer, type GraftTarget } from 'graft';

/** The output layer of a base that ties it to the input embedding, with a weight of its own in one stack. */
export interface UntiedHead {
  /** Where it is trained: `[V, d]`. */
  readonly variable?: tf.Variable;
  /** Ties it again, and disposes the weight. */
  remove(): void;
}

/**
 * Ends the tie as PEFT does, whose `modules_to_save` gives each module a copy of its own.
 * @param trained whether the output's copy is trained, or stays what the base has
 */
export function untieHead(target: GraftTarget, trained: boolean): UntiedHead {
  const site = target.sites.get('lm_head');
  const values = site?.weight?.read() as tf.Tensor2D | undefined;
  if (site === undefined || values === undefined) throw new Error('the model has no lm_head');
  const weight = trained ? (tf.variable(values, true) as tf.Variable) : values;
  if (trained) values.dispose();
  const detach: Disposer = site.graft((x) => target.engine.ops.linear(x, weight as tf.Tensor2D));
  let removed = false;
  return {
    ...(trained ? { variable: weight as tf.Variable } : {}),
    remove: () => {
      if (removed) return;
      removed = true;
      void detach();
      weight.dispose();
    },
  };
}
