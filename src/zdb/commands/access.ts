// Who a client is, and which namespace it is in: AUTH and SELECT.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { DEFAULT_NAMESPACE, MAX_NAMESPACE_NAME_BYTES } from '../../core/namespace-layout.js';
import { failure, OK, status } from '../resp.js';
import type { Session } from '../session.js';
import { argument, type Call, type Command, INVALID, isWord, refuseCount, UNEXPECTED } from './command.js';
import type { Server } from './server-parts.js';

const DISABLED = failure('Authentication disabled');
const REFUSED = failure('Access denied');
const TOO_LONG = failure('Password too long');
const NO_CHALLENGE = failure('No CHALLENGE requested, secure authentication not available');
const BAD_HASH = failure('Invalid hash length');
const ONLY_SECURE = failure('Only SECURE extra method supported');

const NONCE_BYTES = 8;
const HASH_DIGITS = 40;
const MAX_ADMIN_PASSWORD_BYTES = 128;
const MAX_PASSWORD_BYTES = 255;

function auth(call: Call): Buffer {
  const { args, session, server } = call;
  const { adminPassword } = server;
  if (args.length === 3) {
    const refused = refuseCount(call, 3);
    if (refused !== null) return refused;
    if (!isWord(argument(call, 1), 'SECURE')) return ONLY_SECURE;
    const hash = argument(call, 2);
    if (isWord(hash, 'CHALLENGE')) {
      session.nonce = randomBytes(NONCE_BYTES).toString('hex');
      return status(session.nonce);
    }
    if (adminPassword === null) return DISABLED;
    return checkHash(session, hash, adminPassword) ?? becomeAdmin(session, server);
  }
  if (args.length !== 2) return UNEXPECTED;
  if (adminPassword === null) return DISABLED;
  const refused = refuseCount(call, 2);
  if (refused !== null) return refused;
  const password = argument(call, 1);
  if (password.length > MAX_ADMIN_PASSWORD_BYTES) return TOO_LONG;
  if (!isSame(password, Buffer.from(adminPassword))) return REFUSED;
  return becomeAdmin(session, server);
}

function becomeAdmin(session: Session, server: Server): Buffer {
  session.isAdmin = true;
  if (session.namespace.name === DEFAULT_NAMESPACE) session.isWritable = mayWriteDefault(session, server);
  return OK;
}

/** null: the hash is that of the nonce and the password. A nonce is good for one try. */
function checkHash(session: Session, hash: Buffer, password: string): Buffer | null {
  const { nonce } = session;
  if (nonce === null) return NO_CHALLENGE;
  if (hash.length !== HASH_DIGITS) return BAD_HASH;
  session.nonce = null;
  const expected = createHash('sha1').update(`${nonce}:${password}`).digest('hex');
  return isSame(hash, Buffer.from(expected)) ? null : REFUSED;
}

function isSame(a: Buffer, b: Buffer): boolean {
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
  return timingSafeEqual(digest(a), digest(b));
}

export function mayWriteDefault({ isAdmin }: Pick<Session, 'isAdmin'>, { isProtected }: Pick<Server, 'isProtected'>): boolean {
  return isAdmin || !isProtected;
}

/** SELECT NAME [PASSWORD | SECURE HASH] */
function select(call: Call): Buffer {
  const { args, session, server } = call;
  if (args.length < 2) return INVALID;
  if (args.length > 4) return failure('Too many arguments');
  const name = argument(call, 1);
  if (name.length > MAX_NAMESPACE_NAME_BYTES) return failure('Namespace too long');
  const found = server.namespaces.get(name.toString());
  if (found === null) return failure('Namespace not found');
  const { password } = found.settings;
  let isWritable = found.name !== DEFAULT_NAMESPACE || mayWriteDefault(session, server);
  if (password !== null) {
    if (args.length === 2) {
      if (!found.settings.public) return failure('Namespace protected and private');
      isWritable = false;
    } else {
      const refused = checkPassword(call, password);
      if (refused !== null) return refused;
    }
  }
  found.users += 1;
  session.namespace.users -= 1;
  session.namespace = found;
  session.isWritable = isWritable;
  return OK;
}

function checkPassword(call: Call, password: string): Buffer | null {
  const given = argument(call, 2);
  if (call.args.length === 4) {
    if (!isWord(given, 'SECURE')) return ONLY_SECURE;
    return checkHash(call.session, argument(call, 3), password);
  }
  if (given.length > MAX_PASSWORD_BYTES) return TOO_LONG;
  return isSame(given, Buffer.from(password)) ? null : REFUSED;
}

export const AUTH: Command = { name: 'AUTH', run: auth };
export const SELECT: Command = { name: 'SELECT', run: select };
