import type { Checkpoint, TrainCall, TrainEvent } from '../contracts/index.ts';
import { AdamW, clipScale } from '../tensor/adamw.ts';
import { portableOptimizer } from '../tensor/portable-optimizer.ts';
import { Batches, type Place } from './batches.ts';
import { evaluate } from './evaluation.ts';
import { assertFinite, assertSound, type Circumstances } from './finite.ts';
import { stepGradients } from './gradients.ts';
import { evalSequencesOf, sequencesOf, trainablesOf } from './inputs.ts';
import type { Objective } from './objective.ts';
import { settingsOf, type Rhythm, type TrainingOptions } from './options.ts';
import { afterEvaluation, afterStep, afterSwap, BEGINNING, optimizerSteps, stopsEarly, type Progress, type SavedProgress } from './progress.ts';
import { learningRateFactor, warmupStepsOf } from './schedule.ts';
import { restoreInCommon, restoreTensors, saveTensors } from './tensors.ts';

/**
 * Minimises an objective with AdamW (Loshchilov and Hutter 2019), g <- g min(1, max_grad_norm / ||g||): the data of each step, the
 * learning rate, evaluations, early stopping, checkpoints and going on from them. What `train` of a plugin is beside its loss.
 *
 * All that a step depends on is the tensors in the last checkpoint, the seed, and the numbers in `Progress`; so a run that
 * was killed goes on from a checkpoint with the losses it would have had.
 *
 * @throws GraftError what the objective's `check` throws, `NOTHING_TO_TRAIN`, `NO_TRAINED_TOKENS`, `NO_EVAL_DATA`, `OPTIONS_CONFLICT`, `LOSS_NOT_FINITE`, `GRADIENT_NOT_FINITE`
 */
export async function* runTraining(call: TrainCall<TrainingOptions>, objective: Objective): AsyncGenerator<TrainEvent> {
  const { model, stack, checkpoints, signal, seed } = call;
  const settings = settingsOf(call.config, objective.name);
  const trainables = trainablesOf(call);
  const sequences = sequencesOf(call, objective);
  let progress = progressOf(call.resume, objective, (from) => new Batches(objective.name, sequences, settings, seed, from));
  const batches = new Batches(objective.name, sequences, settings, seed, progress.from);
  const evalSequences = evalSequencesOf(call, objective);
  const schedule = { type: settings.lr_scheduler_type, warmupSteps: warmupStepsOf(settings, batches.totalSteps), totalSteps: batches.totalSteps };
  if (schedule.warmupSteps >= schedule.totalSteps) call.emit({ type: 'log', level: 'warn', message: `The warm-up is ${schedule.warmupSteps} steps and the run ${schedule.totalSteps}: the learning rate never reaches ${settings.learning_rate}.` });
  const arithmetic = model.engine.optimizer ?? portableOptimizer;
  const optimizer = new AdamW(trainables, { beta1: settings.adam_beta1, beta2: settings.adam_beta2, eps: settings.adam_epsilon, weightDecay: settings.weight_decay }, arithmetic);
  call.scope.own('optimizer', () => optimizer.dispose());

  let savedStep: number | undefined;
  if (call.resume !== undefined) {
    savedStep = progress.step;
    if (call.resume.otherTrainables === true) await restoreInCommon(call.resume.dir, trainables);
    else await restoreTensors(call.resume.dir, optimizerSteps(progress), trainables, optimizer);
  }
  /** The last step after which the loss is known to be finite. */
  let soundStep = progress.step;

  const rateOf = (step: number): number => settings.learning_rate * learningRateFactor(schedule, step);
  const circumstances = (step: number): Circumstances => ({ step, learningRate: rateOf(Math.max(0, step - 1)), recentLosses: progress.recentLosses, checkpointStep: savedStep });

  /** What spoils the trainables shows in the step after: nothing is kept before one sequence has told, where no evaluation has. */
  async function assertWorthKeeping(): Promise<void> {
    if (soundStep === progress.step) return;
    const { loss } = await evaluate(objective, stack, batches.at(progress.step - 1).sequences.slice(0, 1), settings.micro_batch_tokens);
    assertSound(loss, trainables, circumstances(progress.step));
    soundStep = progress.step;
  }

  async function evaluation(): Promise<TrainEvent> {
    const began = performance.now();
    const { loss, metrics, trainedTokens } = await evaluate(objective, stack, evalSequences, settings.micro_batch_tokens);
    assertSound(loss, trainables, circumstances(progress.step));
    soundStep = progress.step;
    progress = afterEvaluation(progress, loss, settings.early_stopping_threshold);
    return { type: 'evaluation', step: progress.step, loss, ...(objective.perToken ? { perplexity: Math.exp(loss) } : {}), ...(metrics === undefined ? {} : { metrics }), trainedTokens, seconds: (performance.now() - began) / 1000 };
  }

  async function checkpoint(evalLoss?: number): Promise<TrainEvent> {
    await assertWorthKeeping();
    const { dir, best } = await checkpoints.save(progress.step, {
      state: { ...progress, place: batches.placeAt(progress.step) } satisfies SavedProgress,
      evalLoss,
      measure: objective.measure,
      keep: settings.save_total_limit,
      write: (folder) => saveTensors(folder, trainables, optimizer),
    });
    savedStep = progress.step;
    return { type: 'checkpoint', step: progress.step, dir, best };
  }

  const evaluates = (rhythm: Rhythm): boolean => rhythm !== undefined && evalSequences.length > 0;
  if (call.resume === undefined && settings.eval_on_start && evaluates(settings.evaluate)) yield await evaluation();

  while (progress.step < batches.totalSteps && !stopsEarly(progress, settings)) {
    if (signal.aborted) {
      if (savedStep !== progress.step && progress.step > 0) yield await checkpoint();
      yield ended('cancelled');
      return;
    }
    const began = performance.now();
    const { sequences: batch, epoch, endsEpoch } = batches.at(progress.step);
    const learningRate = rateOf(progress.step);
    const result = await stepGradients({ objective, stack, trainables, optimizer: arithmetic, sequences: batch, maxTokens: settings.micro_batch_tokens, recompute: settings.recompute, seed, firstPass: progress.passes });
    try {
      assertFinite(result, trainables, circumstances(progress.step + 1));
      optimizer.apply(result.gradients, learningRate, settings.max_grad_norm === 0 ? 1 : clipScale(result.norm, settings.max_grad_norm));
    } finally {
      result.gradients.forEach((gradient) => gradient.dispose());
    }
    progress = afterStep(progress, result.loss, result.passes);
    yield {
      type: 'step',
      step: progress.step,
      totalSteps: batches.totalSteps,
      epoch,
      loss: result.loss,
      learningRate,
      gradNorm: result.norm,
      ...(result.metrics === undefined ? {} : { metrics: result.metrics }),
      tokens: result.tokens,
      trainedTokens: result.trainedTokens,
      seconds: (performance.now() - began) / 1000,
    };

    const due = (rhythm: Rhythm): boolean => rhythm !== undefined && (progress.step === batches.totalSteps || (rhythm.every === 'epoch' ? endsEpoch : progress.step % rhythm.every === 0));
    const evaluated = evaluates(settings.evaluate) && due(settings.evaluate) ? await evaluation() : undefined;
    if (evaluated !== undefined) yield evaluated;
    const isBest = evaluated !== undefined && settings.load_best_model_at_end && progress.evalLoss! < (((await bestSaved())?.state as Progress | undefined)?.evalLoss ?? Infinity);
    if (due(settings.save) || isBest) yield await checkpoint(evaluated === undefined ? undefined : progress.evalLoss);
  }

  await assertWorthKeeping();
  const best = settings.load_best_model_at_end ? await bestSaved() : undefined;
  if (best !== undefined && best.step !== progress.step) {
    await restoreTensors(best.dir, optimizerSteps(best.state as Progress), trainables, optimizer);
    progress = { ...progress, evalLoss: (best.state as Progress).evalLoss };
    call.log.info(`Went back to the checkpoint of step ${best.step}, whose evaluation loss is the lowest.`);
  }
  yield ended(progress.step < batches.totalSteps ? 'early-stopping' : 'completed');

  /** Of all checkpoints with an evaluation of this loss; early stopping's best may be an older evaluation, by its threshold. */
  async function bestSaved(): Promise<Checkpoint | undefined> {
    const best = await checkpoints.best();
    return best?.measure === objective.measure ? best : undefined;
  }

  function ended(reason: 'completed' | 'early-stopping' | 'cancelled'): TrainEvent {
    return { type: 'train-ended', step: progress.step, reason, loss: progress.recentLosses.at(-1) ?? Number.NaN, evalLoss: progress.evalLoss };
  }
}

/** A checkpoint of before a swap tells where its data stood; what it counted is counted anew. */
function progressOf(resume: TrainCall<TrainingOptions>['resume'], objective: Objective, batchesFrom: (from: Place | undefined) => Batches): Progress {
  if (resume === undefined) return BEGINNING;
  const { place, ...progress } = resume.state as SavedProgress;
  return resume.swapped === undefined ? progress : afterSwap(progress, resume, place ?? batchesFrom(progress.from).placeAt(progress.step), resume.measure === objective.measure);
}
