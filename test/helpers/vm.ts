// The virtual machine of scripts/vm, for tests that need it: its disks, and qemu's monitor, by which they are pulled out and put back.
import { constants } from 'node:fs';
import { access, type FileHandle, open, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { must, run, shell } from './run.js';

/** Why such tests cannot be here; false where they can. `tools` are what else they need. */
export async function whyNotVm(...tools: string[]): Promise<string | false> {
  if (process.env.VRESERVE_VM !== '1') return 'it needs the virtual machine of scripts/vm';
  for (const tool of tools) {
    const { code } = await shell(`command -v ${tool}`);
    if (code !== 0) return `there is no ${tool}`;
  }
  return false;
}

/** The same where systemd must be process 1. */
export async function whyNotSystemd(): Promise<string | false> {
  const why = await whyNotVm('systemctl', 'systemd-analyze');
  if (why !== false) return why;
  const isThere = await access('/run/systemd/system').then(
    () => true,
    () => false,
  );
  return isThere ? false : 'it needs scripts/vm --systemd';
}

/** The n-th disk, from 1. `type` is what the kernel says of it. */
export interface VmDisk {
  path: string;
  serial: string;
  type: 'ssd' | 'hdd';
  pull(): Promise<void>;
  /** Put back; the kernel may give it another name, which `path` is then. */
  plug(): Promise<void>;
}

export async function vmDisk(number: number): Promise<VmDisk> {
  const serial = `VM-DISK-${number}`;
  const type = number % 2 === 1 ? 'ssd' : 'hdd';
  const find = async () => {
    const { stdout } = await must(run('lsblk', ['--nodeps', '--noheadings', '--raw', '--output', 'PATH,SERIAL']));
    const line = stdout.split('\n').find((each) => each.endsWith(` ${serial}`));
    return line?.split(' ')[0] ?? null;
  };
  const until = async (isThere: boolean) => {
    for (;;) {
      const path = await find();
      if ((path !== null) === isThere) return path ?? disk.path;
      await sleep(100);
    }
  };
  const disk: VmDisk = {
    path: '',
    serial,
    type,
    async pull() {
      await ask('device_del', { id: `hd${number}` });
      await until(false);
    },
    async plug() {
      const place = { bus: 'scsi.0', 'scsi-id': number - 1, drive: `disk${number}`, serial };
      await ask('device_add', { driver: 'scsi-hd', id: `hd${number}`, ...place, rotation_rate: type === 'ssd' ? 1 : 7200 });
      disk.path = await until(true);
    },
  };
  disk.path = await until(true);
  return disk;
}

/** One command of qemu's monitor. Throws what it refuses. */
async function ask(execute: string, args: object): Promise<void> {
  const port = (await readdir('/dev')).find((name) => /^vport[0-9]+p2$/.test(name));
  if (port === undefined) throw new Error('the machine has no port to its monitor');
  // A thread that waits in read(2) would keep the process from its end.
  const handle = await open(`/dev/${port}`, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    // Refused where it has been said before.
    await answer(handle, { execute: 'qmp_capabilities', id: 'hello' });
    const { error } = await answer(handle, { execute, arguments: args, id: execute });
    if (error !== undefined) throw new Error(`${execute}: ${JSON.stringify(error)}`);
  } finally {
    await handle.close();
  }
}

async function answer(
  handle: FileHandle,
  command: { id: string; execute: string; arguments?: object },
): Promise<{ error?: unknown }> {
  await handle.write(`${JSON.stringify(command)}\n`);
  const buffer = Buffer.alloc(65_536);
  for (let text = ''; ; await sleep(20)) {
    const bytes = await handle.read(buffer, 0, buffer.length, null).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EAGAIN') return { bytesRead: 0 };
      throw error;
    });
    text += buffer.toString('utf8', 0, bytes.bytesRead);
    // Events and the greeting come between.
    for (const line of text.split('\n').slice(0, -1)) {
      const said = JSON.parse(line) as { id?: string; error?: unknown };
      if (said.id === command.id) return said;
    }
  }
}
