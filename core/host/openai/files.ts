/** /v1/files: what is uploaded to be trained on. */
import type { Readable } from 'node:stream';
import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { GraftError } from '../../kernel/errors.ts';
import { ApiError, invalid, NO_RETRY } from './api-error.ts';
import type { FileStore, Received, StoredFile } from './file-store.ts';
import { pageOf, type PageQuery } from './pages.ts';
import { isRetry, RETRY_WINDOW_MS } from './retries.ts';
import { checkJsonLines, refusePickle, type LineLimits } from './upload-check.ts';

/** What files may be for: to be trained on, or whatever their owner likes. */
const PURPOSES: readonly string[] = ['fine-tune', 'user_data'];
const NAME_LENGTH = 255;
/** The other parts that an upload may have, as OpenAI's clients name them. */
const FIELDS: readonly string[] = ['purpose', 'expires_after[anchor]', 'expires_after[seconds]'];
/** Seconds after which a file may expire. */
const [LEAST_LIFE, MOST_LIFE] = [3600, 2_592_000];
/** Bytes that an upload has beside its file: the other parts, and what stands between them. */
const BESIDE_BYTES = 64 * 1024;

export interface FileOptions {
  readonly files: FileStore;
  /** Bytes of one file. */
  readonly fileBytes: number;
  readonly limits: LineLimits;
  /** A job that has yet to read a file. */
  readerOf(id: string): Promise<string | undefined>;
}

interface Upload {
  readonly filename: string;
  readonly received: Received;
}

export async function fileRoutes(app: FastifyInstance, { files, fileBytes, limits, readerOf }: FileOptions): Promise<void> {
  await app.register(multipart, { limits: { files: 1, fields: 16, fieldSize: 4096, parts: 20, headerPairs: 100 } });

  app.post('/v1/files', { config: { upload: true } }, async (request) => {
    if (!request.isMultipart()) throw new ApiError(415, 'A file is sent as multipart/form-data, with the parts `file` and `purpose`.');
    let upload: Upload | undefined;
    try {
      if (Number(request.headers['content-length'] ?? 0) > fileBytes + BESIDE_BYTES) throw tooLarge(fileBytes);
      const fields = new Map<string, string>();
      upload = await receive(request, files, fileBytes, fields);
      const purpose = fields.get('purpose');
      if (upload === undefined) throw invalid("Missing required parameter: 'file'.", 'file', 'missing_required_parameter');
      if (purpose === undefined) throw invalid("Missing required parameter: 'purpose'.", 'purpose', 'missing_required_parameter');
      if (!PURPOSES.includes(purpose)) throw invalid(`'purpose' is '${purpose}'; it may be ${PURPOSES.join(' or ')}.`, 'purpose', 'invalid_value');
      const lifeMs = lifeOf(fields);
      refusePickle(upload.filename, upload.received);
      const twin = isRetry(request) ? files.twin(upload.received, upload.filename, purpose, lifeMs, Date.now() - RETRY_WINDOW_MS) : undefined;
      if (twin !== undefined) {
        files.discard(upload.received);
        return described(twin);
      }
      if (purpose === 'fine-tune') await checkJsonLines(upload.received.path, limits);
      return described(await files.keep(upload.received, upload.filename, purpose, lifeMs));
    } catch (error) {
      if (upload !== undefined) files.discard(upload.received);
      throw told(error);
    }
  });

  app.get<{ Querystring: PageQuery & { readonly purpose?: string; readonly order?: string } }>('/v1/files', async ({ query }) => {
    const chosen = files.list().filter(({ purpose }) => query.purpose === undefined || purpose === query.purpose).map(described);
    if (query.order !== undefined && query.order !== 'asc' && query.order !== 'desc') throw invalid("'order' must be 'asc' or 'desc'.", 'order', 'invalid_value');
    return pageOf(query.order === 'asc' ? [...chosen].reverse() : chosen, query, 10_000, 10_000);
  });

  const known = (id: string): StoredFile => {
    const file = files.get(id);
    if (file === undefined) throw noSuchFile(id);
    return file;
  };
  app.get<{ Params: { id: string } }>('/v1/files/:id', async ({ params }) => described(known(params.id)));
  app.get<{ Params: { id: string } }>('/v1/files/:id/content', async ({ params }, reply) => {
    const file = known(params.id);
    return reply.header('content-length', file.bytes).type('application/octet-stream').send(files.read(file));
  });
  app.delete<{ Params: { id: string } }>('/v1/files/:id', async ({ params }) => {
    known(params.id);
    const reader = await readerOf(params.id);
    if (reader !== undefined) throw new ApiError(409, `The file ${params.id} is still needed by the job ${reader}. Cancel that first.`, 'invalid_request_error', 'file_id', 'file_in_use', NO_RETRY);
    if (!files.remove(params.id)) throw noSuchFile(params.id);
    return { id: params.id, object: 'file', deleted: true };
  });
}

export const noSuchFile = (id: string, param = 'file_id'): ApiError => new ApiError(404, `No such File object: ${id}.`, 'invalid_request_error', param, 'file_not_found');

const tooLarge = (most: number): GraftError => new GraftError('FILE_TOO_LARGE', `A file may have ${most} bytes, and this one has more.`);

/** Reads the parts in whatever order they come. */
async function receive(request: FastifyRequest, files: FileStore, most: number, fields: Map<string, string>): Promise<Upload | undefined> {
  let upload: Upload | undefined;
  let coming: Readable | undefined;
  // What a form is filled with may be in no part of it, and then no part's limit holds.
  const tooMuch = new Promise<never>((_, reject) => {
    let bytes = 0;
    request.raw.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= most + BESIDE_BYTES) return;
      const error = tooLarge(most);
      coming?.destroy(error);
      reject(error);
    });
  });
  const parts = request.parts({ limits: { fileSize: most + 1 } });
  try {
    for (;;) {
      const next = await Promise.race([parts.next(), tooMuch]);
      if (next.done === true) return upload;
      const part = next.value;
      if (part.type === 'field' && FIELDS.includes(part.fieldname)) fields.set(part.fieldname, String(part.value));
      else if (part.type === 'file' && part.fieldname === 'file') upload = { filename: nameOf(part.filename), received: await files.receive((coming = part.file), most) };
      else throw invalid(`Unrecognized request argument supplied: ${part.fieldname}`, part.fieldname, 'unknown_parameter');
    }
  } catch (error) {
    if (upload !== undefined) files.discard(upload.received);
    throw error;
  }
}

/** Milliseconds after which an upload is to expire; undefined where it says nothing of it. */
function lifeOf(fields: ReadonlyMap<string, string>): number | undefined {
  const [anchor, given] = [fields.get('expires_after[anchor]'), fields.get('expires_after[seconds]')];
  if (anchor === undefined && given === undefined) return undefined;
  for (const [name, value] of [['anchor', anchor], ['seconds', given]] as const) {
    if (value === undefined) throw invalid(`Missing required parameter: 'expires_after[${name}]'.`, `expires_after[${name}]`, 'missing_required_parameter');
  }
  if (anchor !== 'created_at') throw invalid(`'expires_after[anchor]' is '${anchor}'; it may be created_at.`, 'expires_after[anchor]', 'invalid_value');
  const seconds = /^\d+$/.test(given!) ? Number(given) : Number.NaN;
  if (!(seconds >= LEAST_LIFE && seconds <= MOST_LIFE)) throw invalid(`'expires_after[seconds]' must be a whole number from ${LEAST_LIFE} to ${MOST_LIFE}.`, 'expires_after[seconds]', 'invalid_value');
  return seconds * 1000;
}

/** What a sender calls a file is shown and nothing else, without what could trouble a terminal or a header. */
function nameOf(given: string): string {
  const name = given.replaceAll(/[\u0000-\u001f\u007f]/g, '').slice(0, NAME_LENGTH);
  return name === '' ? 'upload' : name;
}

const described = ({ id, filename, purpose, bytes, createdAt, expiresAt }: StoredFile): FileObject => ({
  id,
  object: 'file',
  bytes,
  created_at: Math.floor(createdAt / 1000),
  ...(expiresAt === undefined ? {} : { expires_at: Math.floor(expiresAt / 1000) }),
  filename,
  purpose,
  status: 'processed',
});

interface FileObject {
  readonly id: string;
  readonly object: 'file';
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at?: number;
  readonly filename: string;
  readonly purpose: string;
  readonly status: 'processed';
}

function told(error: unknown): unknown {
  if (GraftError.is(error)) {
    const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
    if (error.code === 'FILE_TOO_LARGE' || error.code === 'STORE_FULL') return new ApiError(413, message, 'invalid_request_error', 'file', error.code.toLowerCase());
    if (error.code === 'FILE_INVALID' || error.code === 'FILE_REFUSED') return invalid(message, 'file', error.code.toLowerCase());
    if (error.code === 'DISK_FULL') return new ApiError(507, message, 'server_error', null, 'disk_full', NO_RETRY);
  }
  const { code } = error as { readonly code?: string };
  return code?.startsWith('FST_') === true ? invalid((error as Error).message, null, 'invalid_multipart') : error;
}
