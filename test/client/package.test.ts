// The client as a program gets it: without other packages, by its name, with its types, and over TLS.
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { clientOf } from '../helpers/client.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { must, ROOT, run } from '../helpers/run.js';

t.test('it needs no package, and no engine', async (t) => {
  const top = await temporaryDirectory(t);
  await writeFile(join(top, 'package.json'), '{"type":"module"}');
  for (const part of ['client', 'core', 'store/names.js']) {
    await cp(join(ROOT, 'build/src', part), join(top, part), { recursive: true });
  }
  const script = `import { VreserveClient } from './client/index.js';
    await new VreserveClient('/none').ping().catch(({ code }) => console.log(code));`;
  const found = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: top, env: {} });
  t.match(found, { code: 0, stdout: 'UNREACHABLE\n', stderr: '' });
});

t.test('by its name', async (t) => {
  const script = `import * as client from 'vreserve/client';
    import * as root from 'vreserve';
    console.log(Object.keys(client).join(), client.VreserveError === root.VreserveError);`;
  const found = await must(run(process.execPath, ['--input-type=module', '-e', script], { cwd: ROOT }));
  t.equal(found.stdout, 'VreserveClient,VreserveError,asVreserveError true\n');
});

t.test('what the README shows is right by the types', async (t) => {
  const top = await temporaryDirectory(t);
  const readme = await readFile(join(ROOT, 'src/client/README.md'), 'utf8');
  const shown = readme.split('\n').filter((line) => line.startsWith('    '));
  const imports = `import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';\n`;
  await writeFile(join(top, 'package.json'), '{"type":"module"}');
  await writeFile(
    join(top, 'readme.ts'),
    `${imports}${shown.join('\n')}\nexport const used = [local, remote, pool, lots, start];\n`,
  );
  await mkdir(join(top, 'node_modules'));
  await symlink(ROOT, join(top, 'node_modules/vreserve'));
  await symlink(join(ROOT, 'node_modules/@types'), join(top, 'node_modules/@types'));
  const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext', '--target', 'es2022'];
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const found = await run(process.execPath, [tsc, ...options, '--types', 'node', 'readme.ts'], { cwd: top, timeoutMs: 120_000 });
  t.match(found, { code: 0, stdout: '' });
  t.ok(shown.length > 20);
});

const noOpenssl =
  (await run('/bin/sh', ['-c', 'command -v openssl'])).code === 0 ? false : 'needs openssl, to make a certificate';

t.test('over TLS', { skip: noOpenssl }, async (t) => {
  const top = await temporaryDirectory(t);
  const words = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key', '-out', 'cert', '-days', '2'];
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  await must(run('openssl', [...words, ...name], { cwd: top }));
  const parts = { key: await readFile(join(top, 'key')), cert: await readFile(join(top, 'cert')) };
  const server = createServer(parts, (_, response) => response.end('{"Succeeded":true}'));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });
  const target = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await t.rejects(clientOf(t, target).ping(), { code: 'UNREACHABLE', message: /self-signed certificate/ });
  const script = `import { VreserveClient } from '${ROOT}/build/src/client/index.js';
    const client = new VreserveClient('${target}');
    await client.ping();
    await client.ping();`;
  const found = await run(process.execPath, ['--input-type=module', '-e', script], {
    env: { NODE_EXTRA_CA_CERTS: join(top, 'cert') },
  });
  t.match(found, { code: 0, stdout: '', stderr: '' });
});
