#!/bin/sh
# Says to `git bisect run` whether the kernel of this commit gives what scenarios expect.
#
#   cd linux && cp .../docs/uml.config . && git bisect start BAD GOOD
#   git bisect run .../docs/bisect.sh /path/to/scenario.yaml
#
# Arguments go to `nsharness run`. What can be set:
#   BUILD      makes the kernel; a User-Mode Linux with the options of uml.config if not set
#   TARGET     what is booted; uml:./linux if not set
#   NSHARNESS  the command; nsharness if not set
#
# git bisect reads the exit status: 0 good, 1 bad, 125 skip this commit, 128 and more stop.
set -u

build_uml() {
  make -s ARCH=um defconfig &&
    ARCH=um scripts/kconfig/merge_config.sh -m .config uml.config >/dev/null &&
    make -s ARCH=um olddefconfig &&
    make -s ARCH=um -j"$(nproc)" linux
}

if [ -n "${BUILD:-}" ]; then sh -c "$BUILD"; else build_uml; fi
# A signal stops the bisection: it says nothing of the commit.
case $? in
  0) ;;
  12[89] | 1[3-9]? | 2??) exit 255 ;;
  *) exit 125 ;;
esac

# The author alone says what is good: rules of the model change with the version, in the middle of the way.
"${NSHARNESS:-nsharness}" run --on "${TARGET:-uml:./linux}" --witness kernel "$@"
status=$?
case $status in
  0 | 1) exit $status ;;
  # The command, the scenario or the person at the keyboard: no other commit would be different.
  2 | 3 | 126 | 127 | 130) exit 255 ;;
  # It did not boot, or lacks what the scenario needs.
  *) exit 125 ;;
esac
