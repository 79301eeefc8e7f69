// The README of /.vreserve: how to use this tree, on one screen.

/** The same text everywhere: paths in it are relative to where it is read. */
export const README = `vreserve: disk-space reservations that hold.

This directory is made by the vreserve daemon. It is in no listing, and there by name.

  report        who holds what, for people          cat report
  report.json   the same for programs
  health        'ok', or what is wrong
  metrics       Prometheus text format
  ledger        every grant, refusal, release and charge as JSON Lines: tail -f ledger
  lots/NAME/    one directory a lot: policy.json, usage.json, paths, owner, parents, children
                ('/' in a name is written %2F: lots/%2Fjob1)
  spool/NAME/   at the root of the mount: spools, real directories. mkdir spool/NAME makes one with
                a queue 'new', mkdir spool/NAME/QUEUE a queue; rm -r takes them away
  store/NAME    at the root of the mount: blobs. cp FILE store/NAME makes or replaces one when it is
                closed, cat reads it, rm removes it; store/NAME.log tells what became of it
  ns/NAME/      at the root of the mount, with --zdb: a key-value namespace; info and keys
  control       takes commands, one a line

A reservation is a promise of bytes to a path: nobody else can take them, and what is below the
path cannot take more. Past it a write fails with ENOSPC ("No space left on device").

  echo 'reserve /job1 500MB' > control     reserve a path, or set the bytes of its reservation anew
  echo 'extend /job1 100MB'  > control     add bytes
  echo 'release /job1'       > control     give it back; the files stay
  echo 'report'              > control     the report as a reply
  echo 'lot list'            > control     lots: reservations with parents, paths and a policy
  echo 'space create a 5GB'  > control     a directory of its own, /spaces/a, on the pool that fits best
  echo 'pool list'           > control     the disks that are served
  echo 'reserve /job1 500MB wait=10m' > control     wait until the bytes are there, at most so long

500G is decimal, 500GiB binary, no suffix is bytes. A path with blanks goes in quotes. A command
may also be JSON: {"cmd":"reserve","path":"/job1","bytes":500000000}. A refused command fails the
write: ENOSPC is refused, EINVAL not understood, EACCES not yours. Reading the same open file
gives a JSON reply to each command:

  exec 3<>control; echo 'reserve /job1 500MB' >&3; cat <&3

Paths are as in the mount; in a reservation's own .vreserve they are relative to it, and only what
is below it can be changed. The same with extended attributes, on any directory or file:

  getfattr -n user.vreserve.used job1      also .grant and .lot
  setfattr -n user.vreserve.reserve -v 10G job1
  setfattr -x user.vreserve.reserve job1
`;
