/** The process that looks at a config, its plugins and its data in the host's place: what they do to it, they do to nobody else. */
import { resolveConfigs, readPluginDirs } from '../../config/index.ts';
import type { Logger } from '../../contracts/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { rehearse } from '../../run/rehearsal.ts';
import { readRunRecord } from '../../run/run-directory.ts';
import { configNow } from '../../run/spans.ts';
import type { CheckAnswer, CheckRequest } from '../check-protocol.ts';
import { checkedConfig } from '../checked-config.ts';
import { openHost, type Host } from '../open-host.ts';
import { onlyConfig, settings } from './work.ts';

const quiet: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => quiet };
const never = new AbortController().signal;

let host: Host | undefined;

async function answer(request: CheckRequest): Promise<CheckAnswer> {
  if (request.type === 'resolve') {
    const { source: { config, set, cwd }, pluginDirs } = request;
    host = await openHost({ pluginDirs: [...pluginDirs, ...(await readPluginDirs(config, { set, cwd }))], log: quiet });
    return { type: 'resolved', configs: (await resolveConfigs(config, { schemas: host.kernel, set, cwd })).map(checkedConfig) };
  }
  const { kernel, cacheDir } = host!;
  const config = await onlyConfig(request.configFile, kernel, settings(await onlyConfig(request.configFile, kernel, []), request, quiet));
  const record = await readRunRecord(request.dir);
  // As the run computes, but beside it: not in its cores.
  const notes = await rehearse(await configNow(request.dir, record), { ...config, engine: { ...config.engine, threads: 1 } }, record, { kernel, log: quiet, cacheDir, signal: never, emit: () => undefined });
  return { type: 'rehearsed', notes };
}

process.on('message', (request: CheckRequest) => {
  void answer(request)
    .catch((error: unknown): CheckAnswer => (GraftError.is(error) ? { type: 'refused', code: error.code, message: error.message, hint: error.hint } : { type: 'refused', code: undefined, message: reasonOf(error), hint: undefined }))
    .then((told) => process.send!(told, () => undefined));
});
