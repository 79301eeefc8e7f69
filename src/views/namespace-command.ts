// Checks a command on namespaces that came as words or JSON.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { spacePolicy } from '../core/space.js';
import type { NamespaceCommand } from './host.js';

/** Names of its fields, beside `cmd`. */
export const NAMESPACE_FIELDS = ['action', 'namespace', 'bytes', 'mode', 'password', 'public', 'type'] as const;

/** What one password may have, as in NSSET. */
const MAX_PASSWORD_BYTES = 63;

/** Throws BAD_COMMAND, BAD_BYTES, SPACE_BAD_TYPE. */
export function namespaceCommand(fields: Readonly<Record<string, unknown>>): NamespaceCommand {
  const { action, namespace, bytes, mode = 'user', password = null, public: isPublic = false, type } = fields;
  if (action !== 'list' && typeof namespace !== 'string') throw bad('"namespace" must be a name');
  switch (action) {
    case 'list':
      return { action };
    case 'info':
    case 'release':
      return { action, namespace: String(namespace) };
    case 'reserve': {
      if (mode !== 'user' && mode !== 'seq') throw bad('"mode" must be user or seq');
      if (typeof isPublic !== 'boolean') throw bad('"public" must be true or false');
      const size = typeof bytes === 'string' ? parseBytes(bytes) : bytes;
      if (typeof size !== 'number') throw bad('"bytes" must be a number of bytes');
      if (checkBytes(size) === 0) throw bad('"bytes" must be more than 0');
      if (type !== undefined && typeof type !== 'string') throw bad('"type" must be ssd or hdd');
      const asked = { password: checkPassword(password), isPublic, policy: spacePolicy(type, undefined) };
      return { action, namespace: String(namespace), bytes: size, mode, ...asked };
    }
    default:
      throw bad('"action" must be reserve, release, info or list');
  }
}

function checkPassword(password: unknown): string | null {
  if (password === null) return null;
  if (typeof password !== 'string' || password === '' || password === '*') throw bad('"password" must be a text, and not *');
  if (/[^\x21-\x7e]/.test(password) || password.length > MAX_PASSWORD_BYTES) {
    throw bad(`"password" has at most ${MAX_PASSWORD_BYTES} letters, digits and signs of ASCII, without blanks`);
  }
  return password;
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
