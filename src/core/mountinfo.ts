// The kernel's list of mounts, parsed from the text of /proc/PID/mountinfo.

/** One line of it; the format is described in proc_pid_mountinfo(5). */
export interface MountEntry {
  id: number;
  parentId: number;
  /** `major:minor`, decimal. */
  device: string;
  /** The directory of the filesystem that is seen at the mountpoint: '/' unless it is a bind mount. */
  root: string;
  mountpoint: string;
  type: string;
  source: string;
  options: string[];
}

/** Blank, tab, newline and backslash are written in octal by the kernel. */
function decodeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  const bytes: number[] = [];
  const raw = Buffer.from(text);
  for (let i = 0; i < raw.length; i++) {
    const digits = raw.toString('latin1', i + 1, i + 4);
    if (raw[i] === 0x5c && /^[0-7]{3}$/.test(digits)) {
      bytes.push(Number.parseInt(digits, 8));
      i += 3;
    } else {
      bytes.push(raw[i] ?? 0);
    }
  }
  return Buffer.from(bytes).toString();
}

/** A device number as stat(2) gives it, as it is written there. */
export function deviceText(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** Parses the whole text of a mountinfo file. Lines that do not have the format are left out. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    const [id, parent, device, root, mountpoint, options] = fields;
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator < 0 || !device || !root || !mountpoint || !options || !type || source === undefined) continue;
    entries.push({
      id: Number(id),
      parentId: Number(parent),
      device,
      root: decodeOctal(root),
      mountpoint: decodeOctal(mountpoint),
      type,
      source: decodeOctal(source),
      options: [...options.split(','), ...(superOptions ?? '').split(',')],
    });
  }
  return entries;
}
