// The version of this installation, as package.json has it.

import { readFileSync } from 'node:fs';

/** Such as '0.1.0'. Read from package.json, two levels above the compiled file. */
export function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version);
  throw new Error('package.json has no version');
}
