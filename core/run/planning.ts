import type { RunConfig } from '../config/index.ts';
import type { TrainPlan } from '../contracts/index.ts';
import { placed, Session, type RunHost } from './session.ts';

export interface PlannedRun {
  readonly name: string;
  readonly engine: string;
  readonly plan: TrainPlan;
}

/** What a run would do: everything is loaded and grafted as for the run, and then it is not trained. */
export async function planRun(config: RunConfig, host: RunHost): Promise<PlannedRun> {
  const session = await Session.open(config, host);
  try {
    const { hook, entry } = session.trainer();
    const dataset = await session.preprocess();
    const { grafts } = await session.inject('plan');
    const { name, detail } = session.engine.info;
    try {
      const plan = hook.plan({ config: entry.options, dataset, grafts, model: session.model, seed: config.seed });
      return { name: config.name, engine: `${name} (${detail})`, plan };
    } catch (error) {
      throw placed(config, entry, error);
    }
  } finally {
    await session.dispose();
  }
}
