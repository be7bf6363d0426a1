# SPDX-License-Identifier: Apache-2.0
"""The sandboxed process: it confines itself, runs a program's source, and writes its circuit as data.

These files import only the standard library and one SDK, since they also run in Python environments without the server.
`entry_point` is the main program, `confinement` confines the process, `sdk_circuits` knows the SDKs.

The layers of confinement. A source runs only where the kernel offers both of the first two:

- seccomp (`syscalls`): an allowlist of system calls for every thread. No sockets, no new processes or
  threads, no exec, no signals to others, no ptrace or memory of others, no io_uring, bpf, keys, mounts or memory files;
  files are opened for reading only, and none can be created, renamed, removed or truncated. It cannot check paths.
- Landlock (`landlock`): the readable paths: the Python installation, its packages, the system's libraries, a few
  facts about the machine. It also forbids writing outside the SDKs' cache, executing, inspecting other processes and,
  from ABI versions 4 and 6 on, TCP and signals. It does not hide the existence, size and owner of a file whose path
  is known.
- limits: memory, CPU time, no file grows, few open files, no core dumps. The parent bounds time, output and result.
- namespaces, where the kernel permits them: no network devices and no shared memory of others, if another layer fails.
- no privileges: capabilities are dropped for good, so that root's source is confined like any other user's.
- a separate process: no memory of the worker, no environment, no descriptors but its three pipes.

All but seccomp and some limits apply before the SDK is imported, so that its threads are confined too; the rest applies
before the first line of the source. Seccomp then stops writes of threads to the cache, which Landlock allows.
"""
