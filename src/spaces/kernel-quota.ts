// What holds a space to its size where the kernel enforces it: one interface, which each filesystem that can do it fills.

/** What the filesystem has for one space. */
export interface Quota {
  /** As of the last time that the filesystem looked. */
  usedBytes: number;
  /** null: it is not enforced. */
  limitBytes: number | null;
}

/** Paths are those of the directories of spaces, and `pool` is a directory of the same filesystem. Throws TOOL_MISSING, TOOL_FAILED, TOOL_SLOW. */
export interface KernelQuota {
  /** Why nothing can be enforced in the pool as it is now, and what to do about it; null: it can. Asks no tool. */
  whyNot(pool: string): string | null;
  /** Makes the directory of a space, without a limit. One that is there already is made whole. */
  make(path: string, pool: string): Promise<void>;
  /** Sets what it may hold, also where that was switched off or taken away by hand. */
  limit(path: string, bytes: number, pool: string): Promise<void>;
  /** By path, in one question for the whole pool; a space that the filesystem does not count is missing. Waits for no commit. */
  read(paths: readonly string[], pool: string): Promise<Map<string, Quota>>;
  /** Of a space that is to be removed: its limit goes, and all of it that can go at one stroke. Once more is no error while it is there. */
  release(path: string, pool: string): Promise<void>;
}
