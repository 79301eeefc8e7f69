// Contents that can be told apart: bytes that only one name and version have, of a length that they say.
import { createHash } from 'node:crypto';

/** Half of them cannot be taken for all. Every fiftieth has a megabyte. */
export function contentOf(name: string, version: number): Buffer {
  const hash = createHash('sha256').update(`${name} ${version}`).digest();
  const size = version % 50 === 0 ? 1_000_000 : hash.readUInt16LE(0) % (version % 7 === 0 ? 65_536 : 4096);
  const head = Buffer.from(`${name} ${version} ${size}\n`);
  return Buffer.concat([head, Buffer.alloc(size, hash)]);
}

/** Of a whole content. Throws where it is none of the name. */
export function versionOf(name: string, bytes: Buffer): number {
  const [, version] = /^name \d+ (\d+) /.exec(bytes.toString('latin1', 0, 60)) ?? [];
  if (version !== undefined && bytes.equals(contentOf(name, Number(version)))) return Number(version);
  throw new Error(`${name}: ${bytes.length} bytes that are no content of it, ${bytes.toString('latin1', 0, 40)}`);
}
