# SPDX-License-Identifier: Apache-2.0
"""What a Python executes to run a program's source: it locks itself in, runs it, and writes its circuit as data.

These files stand by themselves: they import the standard library and the one SDK, since they are also run by Pythons
in which the server is not installed. `building` is the way through, `cage` locks the process in, `circuits` knows SDKs.

What each layer of the cage gives. A source is run only where the kernel offers both of the first two:

- seccomp (`syscalls`): the list of system calls that are allowed, for every thread. No sockets, no new processes or
  threads, no exec, no signals to others, no ptrace or memory of others, no io_uring, bpf, keys, mounts or memory files;
  files are opened for reading only, and none can be made, renamed, removed or cut. It cannot tell paths apart.
- Landlock (`landlock`): which paths may be read: the Python installation, its packages, the system's libraries, a few
  facts about the machine. It also forbids to write elsewhere than in the SDKs' cache, to execute, to look into other
  processes and, from its fourth and sixth edition on, TCP and signals. It does not hide that a file exists, how long
  it is and whose it is, from somebody who knows its path.
- limits: memory, CPU time, no file grows, few open files, no core dumps. The parent bounds time, output and result.
- namespaces, where the kernel permits them: no network devices and no shared memory of others, should a layer fail.
- no privileges: capabilities are dropped and cannot be had again, so that root's source is caged like anybody's.
- a process of its own: no memory of the worker, no environment, no descriptors but its three pipes.

All but seccomp and some limits hold before the SDK is imported, so that threads it starts are inside, too; the rest
holds before the first line of the source. Threads that Landlock let write into the cache are kept from it by seccomp.
"""
