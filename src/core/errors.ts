// The one error class, and the one table of everything that can go wrong: code, errno, HTTP status, exit code, message.

interface Row {
  /** What a system call answers. */
  errno: string;
  httpStatus: number;
  /** 1: refused or failed; 2: usage. */
  exitCode: 1 | 2;
  /** `{name}` is filled from the error's details. */
  message: string;
}

const row = (errno: string, httpStatus: number, exitCode: 1 | 2, message: string): Row => ({
  errno,
  httpStatus,
  exitCode,
  message,
});

/** Every code. A message says what failed and why, on one line. */
export const ERRORS = {
  USAGE: row('EINVAL', 400, 2, '{reason}'),
  UNKNOWN_COMMAND: row('EINVAL', 400, 2, "unknown command '{command}'"),
  BAD_COMMAND: row('EINVAL', 400, 2, 'not understood: {reason}'),
  BAD_BYTES: row('EINVAL', 400, 2, "'{text}' is not a number of bytes: {reason}"),
  BAD_DURATION: row('EINVAL', 400, 2, "'{text}' is not a duration: {reason}"),
  BAD_PERCENT: row('EINVAL', 400, 2, "'{text}' is not a percentage from 0% to 100%"),
  BAD_PATH: row('EINVAL', 400, 2, "'{path}' cannot be a path in the mount: {reason}"),
  PATH_TOO_LONG: row('ENAMETOOLONG', 400, 2, 'the path is too long: {reason}'),
  OUTSIDE: row('EINVAL', 400, 2, "'{path}' is not in a vreserve mount"),

  NO_SPACE: row('ENOSPC', 507, 1, '{askedText} asked for {path}, {availableText} available{where}'),
  NEVER_FITS: row('ENOSPC', 507, 1, '{askedText} asked for {path}, and {where} can never hold more than {mostText}'),
  WAITED_FOR_NOTHING: row('ENOSPC', 507, 1, '{askedText} asked for {path}, which waited {waitedText} for it: {reason}'),
  OTHERS_WAIT: row('ENOSPC', 507, 1, '{askedText} asked for {path}, and {othersText} before it: reserve --wait joins the line'),
  WITHDRAWN: row('ECANCELED', 409, 1, 'the request was withdrawn'),
  BELOW_USE: row('ENOSPC', 409, 1, '{askedText} asked for {path}, which holds {heldText} already'),
  SPLIT_NAMES: row('EXDEV', 409, 1, "'{path}' cannot be bound: the names of one file ({inTheWay}) would lie in two lots"),
  REAL_VRESERVE: row('EEXIST', 409, 1, "'{path}' cannot be bound: it has a real .vreserve of its own"),
  NOT_YOURS: row('EACCES', 403, 1, '{reason}'),
  NO_SUCH_LOT: row('ENOENT', 404, 1, '{reason}'),
  LOT_EXISTS: row('EEXIST', 409, 1, 'The lot already exists and cannot be recreated. Maybe you meant to modify it?'),
  LOT_CYCLE: row('ELOOP', 409, 1, '{reason}'),
  LOT_ORPHANS: row('EBUSY', 409, 1, '{reason}'),
  LOT_IS_DEFAULT: row('EPERM', 409, 1, '{reason}'),
  LOT_IS_SPOOL: row('EPERM', 409, 1, '{reason}'),
  LOT_IS_STORE: row('EPERM', 409, 1, '{reason}'),
  LOT_IS_SPACE: row('EPERM', 409, 1, '{reason}'),
  PATH_TAKEN: row('EEXIST', 409, 1, "'{path}' is a path of lot '{lot}' already"),
  BELOW_CHILDREN: row('ENOSPC', 409, 1, "lot '{lot}' cannot have less than the lots below it were promised"),
  USAGE_IS_MEASURED: row('EINVAL', 409, 1, '{what} is measured: it lies in the mount'),
  NEGATIVE_USAGE: row('EINVAL', 409, 1, '{reason}'),
  BAD_LOT_JSON: row('EINVAL', 400, 2, '{reason}'),
  BAD_OWNER: row('EINVAL', 400, 2, "'{name}' cannot be the name of a user"),
  BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of a lot: {reason}"),
  READ_ONLY: row('EROFS', 403, 1, 'the mount is read-only'),
  NOT_SUPPORTED: row('EOPNOTSUPP', 501, 1, '{reason}'),
  ENDING: row('ESHUTDOWN', 503, 1, 'the mount is ending'),

  /** Of the HTTP service alone. */
  BAD_REQUEST: row('EINVAL', 400, 2, 'not understood: {reason}'),
  NO_TOKEN: row('EACCES', 401, 1, 'this needs the token: Authorization: Bearer TOKEN'),
  FOREIGN_PAGE: row('EACCES', 403, 1, 'refused: a page of another site asks ({reason})'),
  NO_SUCH_ROUTE: row('ENOENT', 404, 1, 'there is no {method} {path} here; /api/openapi.json has what there is'),
  TOO_SLOW: row('ETIMEDOUT', 408, 1, 'the request did not arrive in time'),
  TOO_BUSY: row('EAGAIN', 503, 1, 'too much is being sent at the same time'),
  BODY_TOO_LARGE: row('E2BIG', 413, 1, 'the body of the request is too large'),
  TOO_MANY_STREAMS: row('EAGAIN', 503, 1, 'the ledger is followed by {most} already'),
  STARTING: row('EAGAIN', 503, 1, 'the mount is not served yet'),
  HTTP_FAILED: row('EIO', 500, 1, 'the service cannot listen on {address}: {reason}'),
  TOKEN_FAILED: row('EIO', 500, 1, "the token file '{path}' cannot be used: {reason}"),

  /** Of the client alone. After BROKEN_OFF and NO_ANSWER it may have been done; UNREACHABLE: nothing was. */
  UNREACHABLE: row('ECONNREFUSED', 503, 1, '{where} cannot be reached: {reason}'),
  BROKEN_OFF: row('ECONNRESET', 502, 1, '{where} broke off before it had answered; it may have been done all the same'),
  NO_ANSWER: row('ETIMEDOUT', 504, 1, '{where} gave no answer within {timeoutMs} ms; it may be done all the same'),
  BAD_ANSWER: row('EBADMSG', 502, 1, 'the answer of {where} is not understood: {reason}'),
  CLIENT_CLOSED: row('ESHUTDOWN', 503, 1, 'the client is closed'),

  LEDGER_FOREIGN: row('EIO', 500, 1, '{file} is not a vreserve ledger ({reason}); it was left as it is'),
  LEDGER_DAMAGED: row('EIO', 500, 1, 'the ledger {file} is damaged ({reason}); it was left as it is'),
  LEDGER_NEWER: row('EIO', 500, 1, 'the ledger {file} was written by a newer vreserve (format {found}, this one knows {known})'),
  LEDGER_FAILED: row('EIO', 500, 1, 'the ledger cannot be written: {reason}'),
  LEDGER_FULL: row('ENOSPC', 507, 1, 'the ledger cannot be written: the disk is full'),

  BACKING_MISSING: row('ENOENT', 404, 1, "the backing directory '{path}' does not exist"),
  BACKING_NOT_DIRECTORY: row('ENOTDIR', 400, 1, "the backing '{path}' is not a directory"),
  BACKING_INSIDE: row('ELOOP', 400, 1, "the backing directory '{path}' is inside the mountpoint '{mountpoint}'"),
  BACKING_READ_ONLY: row('EROFS', 403, 1, "the backing directory '{path}' is read-only: mount it with --read-only"),
  BACKING_FAILED: row('EIO', 500, 1, "the backing directory '{path}' cannot be used: {reason}"),
  ALREADY_SERVED: row('EBUSY', 409, 1, "the backing directory '{path}' is served by another vreserve daemon"),
  MOUNTPOINT_MISSING: row('ENOENT', 404, 1, "the mountpoint '{path}' does not exist"),
  MOUNTPOINT_NOT_DIRECTORY: row('ENOTDIR', 400, 1, "the mountpoint '{path}' is not a directory"),
  MOUNT_FAILED: row('EIO', 500, 1, "'{path}' cannot be mounted: {reason}"),
  MOUNT_BUSY: row('EBUSY', 409, 1, "'{path}' is busy{holders}"),
  NOT_MOUNTED: row('EINVAL', 400, 1, "'{path}' is not a vreserve mount"),
  ENGINE_MISSING: row('ENOEXEC', 500, 1, 'the native engine cannot be loaded: {reason}'),
  ENGINE_NOT_LOADED: row(
    'ENOEXEC',
    500,
    1,
    'the engine {engine} cannot be loaded: {reason}; {cure}, or mount with --engine native',
  ),
  OTHERS_REFUSED: row(
    'EPERM',
    403,
    1,
    'no --allow-other with the engine {engine}: it cannot tell who asks, so everybody could do what you may; say --i-trust-all-users if they may',
  ),
  DAEMON_FAILED: row('EIO', 500, 1, 'the daemon failed: {reason}'),
  PROCESS_GONE: row('EIO', 503, 1, '{what} has died'),
  SPOOL_NOT_A_DIRECTORY: row('ENOTDIR', 404, 1, '{path} does not exist or is not a directory'),
  SPOOL_NOT_ACCESSIBLE: row('EACCES', 403, 1, '{path} is not writable, readable, and executable by running user'),
  SPOOL_NOT_EMPTY: row('ENOTEMPTY', 409, 1, 'dir is not empty while creating new spool (dir {path})'),
  SPOOL_NOT_A_SPOOL: row('EINVAL', 400, 1, "'{path}' is not a spool; vreserve spool create makes one"),
  SPOOL_NO_QUEUE: row('ENOENT', 404, 1, "the spool '{dir}' has no queue '{queue}'; it has {has}"),
  SPOOL_EMPTY: row('EAGAIN', 404, 1, "nothing is in queue '{queue}'"),
  SPOOL_CHECKED_OUT: row('EBUSY', 409, 1, "'{name}' is checked out already"),
  SPOOL_NOT_CHECKED_OUT: row('EPERM', 409, 1, "'{name}' is not checked out: check it out first, or use --force"),
  SPOOL_NO_LONGER_YOURS: row('ESTALE', 409, 1, "'{name}' is no longer checked out: somebody has put it back or finished it"),
  SPOOL_PUT_BACK: row('EIO', 500, 1, "'{name}' went back into queue '{queue}': {reason}"),
  SPOOL_DATA_GONE: row('ENOENT', 404, 1, "the data of '{name}' is gone"),
  SPOOL_NO_COMMAND: row('ENOENT', 400, 1, "'{command}' is not there, or cannot be run"),
  SPOOL_NO_ENTRY: row('ENOENT', 404, 1, "No such entry: '{name}'{where}"),
  SPOOL_ENTRY_DISAPPEARED: row('ENOENT', 404, 1, "Entry disappeared before checkout: '{name}' in queue '{queue}'"),
  SPOOL_NAME_TAKEN: row('EEXIST', 409, 1, "'{name}' is the name of another entry"),
  SPOOL_BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of an entry: {reason}"),
  SPOOL_BAD_QUEUE: row('EINVAL', 400, 2, "'{queue}' cannot be a queue: {reason}"),
  SPOOL_NOT_UTF8: row('EILSEQ', 422, 1, "the metadata of '{name}' in {where} is not valid UTF-8"),
  SPOOL_BAD_META: row('EBADMSG', 422, 1, "the metadata of '{name}' in {where} is not understood: {reason}"),
  SPOOL_WATCH_CLOSED: row('EIO', 500, 1, "the watch on '{path}' ended: {reason}"),
  /** `errno` in the details: ENOSPC or EMFILE. */
  SPOOL_WATCH_LIMIT: row('ENOSPC', 503, 1, "'{path}' cannot be watched: {limit} is reached"),

  NO_STORE: row('ENXIO', 404, 1, 'this mount serves no store'),
  STORE_EXISTS: row('EEXIST', 500, 1, 'Blob {name} already exists'),
  STORE_NO_BLOB: row('ENOENT', 404, 1, "there is no blob '{name}'"),
  STORE_PENDING: row('EBUSY', 409, 1, "blob '{name}' is still being written"),
  STORE_BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of a blob: {reason}"),
  STORE_BAD_LOT: row('EINVAL', 400, 2, "'{lot}' cannot be a lot of the store: {reason}"),
  STORE_FULL: row('ENOSPC', 507, 1, 'no space left on device: the grant has no room for blob {name}'),
  STORE_BROKEN_OFF: row('ECANCELED', 400, 1, 'the upload of blob {name} broke off: {reason}'),
  STORE_IDLE: row('ETIMEDOUT', 408, 1, 'nothing of the body came for {seconds} seconds'),
  STORE_CHANGED: row('ESTALE', 412, 1, 'blob {name} is not as the request wants it: {reason}'),
  STORE_BAD_RANGE: row('ERANGE', 416, 1, 'blob {name} has {sizeBytes} bytes: there is nothing from {start} on'),
  STORE_PAYLOAD_DAMAGED: row('EIO', 500, 1, 'the bytes of blob {name} are not what was stored: {reason}'),
  STORE_IN_USE: row('EBUSY', 409, 1, "the store '{path}' is in use by another process"),
  STORE_CLOSED: row('ESHUTDOWN', 503, 1, 'the store is closed'),
  STORE_FOREIGN: row('EIO', 500, 1, "'{path}' is not a store of vreserve ({reason}); it was left as it is"),
  STORE_NEWER: row('EIO', 500, 1, "the store '{path}' was written by a newer vreserve (format {found}, this one knows {known})"),
  STORE_NOT_ORIGINAL: row('EINVAL', 400, 1, "'{path}' is not a data directory of go-storage-server: {reason}"),

  VOLUME_BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of a volume: {reason}"),
  VOLUME_BAD_OPTION: row('EINVAL', 400, 2, "option '{option}': {reason}"),
  VOLUME_UNKNOWN: row('ENOENT', 404, 1, "there is no volume '{name}'"),
  VOLUME_IN_USE: row('EBUSY', 409, 1, "volume '{name}' is in use: {reason}"),
  VOLUME_SMALLER: row(
    'EEXIST',
    409,
    1,
    "volume '{name}' is there already with more: {reason}; vreserve reserve makes it smaller",
  ),
  VOLUMES_FOREIGN: row('EEXIST', 409, 1, "'{path}' cannot hold volumes: {reason}"),

  NO_POOL: row('ENOENT', 404, 1, "there is no pool '{name}'; there are {has}"),
  POOL_PLACE: row('EINVAL', 400, 1, "'{path}' cannot be pool '{name}': {reason}"),
  POOL_TAKEN: row('EBUSY', 409, 1, "pool '{name}' at '{path}' is not to be had: {reason}"),
  POOL_FAILED: row('EIO', 500, 1, "pool '{name}' at '{path}' cannot be used: {reason}"),
  POOL_IN_USE: row('EBUSY', 409, 1, "pool '{name}' is in use: {reason}"),
  OTHER_POOL: row('EXDEV', 409, 1, "'{path}' cannot be had: a lot, its parents and all its paths must be in one pool"),
  NOT_GRAFTED: row('EINVAL', 409, 1, "'{path}' cannot be taken from a pool: {reason}"),
  NO_NAMESPACES: row('ENXIO', 404, 1, 'this mount serves no namespaces: mount it with --zdb ADDRESS'),
  NAMESPACE_BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of a namespace: {reason}"),
  NAMESPACE_EXISTS: row('EEXIST', 409, 1, "namespace '{name}' is there already"),
  NAMESPACE_UNKNOWN: row('ENOENT', 404, 1, "there is no namespace '{name}'"),
  NAMESPACE_DAMAGED: row('EIO', 500, 1, "'{path}' cannot be used: {reason}; it was left as it is"),
  ZDB_FAILED: row('EIO', 500, 1, 'namespaces cannot be served on {address}: {reason}'),
  PASSWORD_FAILED: row('EIO', 500, 1, "the password file '{path}' cannot be used: {reason}"),
  LOT_IS_NAMESPACE: row('EPERM', 409, 1, '{reason}'),
  NEEDS_ROOT: row('EPERM', 403, 1, '{what} needs root'),
  TOOL_MISSING: row('ENOENT', 500, 1, '{tool} is not installed: it is in the package {package}'),
  TOOL_FAILED: row('EIO', 500, 1, '{tool} failed: {reason}'),
  TOOL_SLOW: row('ETIMEDOUT', 504, 1, '{tool} was not done within {seconds} s, and was ended'),
  DEVICE_BAD_NAME: row('EINVAL', 400, 2, "'{path}' cannot be a device: {reason}"),
  DEVICE_TWICE: row('EINVAL', 400, 2, "'{path}' is named twice"),
  DEVICE_MISSING: row('ENODEV', 404, 1, "there is no device '{path}'; vreserve pool devices lists those that there are"),
  DEVICE_UNFIT: row('EINVAL', 409, 1, "'{path}' cannot be used: {reason}"),
  DEVICE_IN_USE: row('EBUSY', 409, 1, "'{path}' is in use: {reason}"),
  DEVICE_NOT_EMPTY: row(
    'EEXIST',
    409,
    1,
    "'{path}' is not empty, it has {signatures}; what is on it is destroyed by: vreserve pool wipe {path} --yes-destroy {confirm}",
  ),
  DEVICE_NOT_CONFIRMED: row('EPERM', 409, 1, "'{path}' was not touched: --yes-destroy must be {expected}, not '{given}'"),
  POOL_BAD_NAME: row('EINVAL', 400, 2, "'{name}' cannot be the name of a pool: {reason}"),
  POOL_TOO_FEW: row('EINVAL', 400, 2, '--policy {policy} needs {least} devices or more, {given} given'),
  POOL_EXISTS: row('EEXIST', 409, 1, "there is a pool '{name}' already, on {where}"),
  POOL_IN_THE_WAY: row('EEXIST', 409, 1, "'{path}' is in the way: no pool can be mounted there"),
  POOL_NOTE_DAMAGED: row(
    'EIO',
    500,
    1,
    "'{file}', the note of a pool that was being prepared, is damaged: look at its devices, and remove it",
  ),
  POOLS_BUSY: row('EBUSY', 409, 1, "the pools in '{path}' are being changed by another process"),
  BOOT_NO_POOL: row(
    'ENODEV',
    404,
    1,
    "nothing is mounted at '{path}': there is no pool, and the file names no backing directory",
  ),
  BOOT_BAD_CONFIG: row('EINVAL', 400, 2, "'{file}' is not understood: {reason}"),
  /** The original's texts, where it has one. */
  SPACE_BAD_NAME: row('EINVAL', 400, 2, 'invalid volume name. {reason}'),
  SPACE_BAD_TYPE: row('EINVAL', 400, 2, "invalid device type '{type}'. type unknown"),
  SPACE_BAD_POLICY: row('EINVAL', 400, 2, "'{policy}' cannot be the policy of a space: {reason}"),
  SPACE_BAD_ENFORCER: row('EINVAL', 400, 2, "'{enforce}' enforces nothing: it is mount or kernel"),
  SPACE_BAD_SIZE: row('EINVAL', 400, 2, 'invalid size: {reason}'),
  SPACE_BAD_PLACE: row('EEXIST', 409, 1, "a space cannot be at '{path}': {reason}"),
  SPACE_NAME_TAKEN: row(
    'EEXIST',
    409,
    1,
    "space '{name}' cannot be made: another lot has that name (vreserve lot show {name}); choose another",
  ),
  SPACE_UNKNOWN: row('ENOENT', 404, 1, "space '{name}' not found: file does not exist"),
  SPACE_NO_ROOM: row(
    'ENOSPC',
    507,
    1,
    'not enough space left in pools of this type {type}: {askedText} asked for, {availableText} available',
  ),
  SPACE_SHRINK: row(
    'ENOSPC',
    409,
    1,
    'cannot shrink volume to be less than provisioned space. old: {oldBytes}, requested: {askedBytes}; it holds {heldText}',
  ),
  SPACE_IN_USE: row('EBUSY', 409, 1, "space '{name}' is in use: {reason}"),
  SPACE_IS_CACHE: row('EPERM', 409, 1, "space '{name}' is the cache of this mount: {reason}"),
  SPACES_FOREIGN: row('EEXIST', 409, 1, "'{path}' cannot hold spaces: {reason}"),

  /** The system refused; `errno` in the details says how. */
  SYSTEM: row('EIO', 500, 1, '{reason}'),
  INTERNAL: row('EIO', 500, 1, 'internal error: {reason}'),
} as const satisfies Record<string, Row>;

export type ErrorCode = keyof typeof ERRORS;

/** What fills a message, and what a program wants to know besides. Bytes are exact integers. */
export type ErrorDetails = Record<string, string | number>;

/** The error that every part of vreserve throws. `details.errno` takes the place of the table's errno. */
export class VreserveError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, options?: { cause?: unknown }) {
    super(fill(ERRORS[code].message, details), options);
    this.name = 'VreserveError';
    this.code = code;
    this.details = details;
  }

  /** Name of the errno, such as 'ENOSPC'. */
  get errno(): string {
    return typeof this.details.errno === 'string' ? this.details.errno : ERRORS[this.code].errno;
  }

  get httpStatus(): number {
    return ERRORS[this.code].httpStatus;
  }

  get exitCode(): 1 | 2 {
    return ERRORS[this.code].exitCode;
  }
}

/** The error as a VreserveError: itself, SYSTEM where it carries an errno name, else INTERNAL. */
export function asVreserveError(error: unknown): VreserveError {
  if (error instanceof VreserveError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const errno = errnoOf(error);
  return errno === null
    ? new VreserveError('INTERNAL', { reason }, { cause: error })
    : new VreserveError('SYSTEM', { reason, errno }, { cause: error });
}

/** The errno name that a system's error carries in `code`; null where there is none. */
export function errnoOf(error: unknown): string | null {
  if (error instanceof VreserveError) return error.errno;
  if (!(error instanceof Error) || !('code' in error)) return null;
  const code = error.code;
  // Node's own codes begin with ERR_, SQLite's with SQLITE_: neither is an errno.
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : null;
}

function fill(template: string, details: ErrorDetails): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? ''));
}
