#!/bin/sh
# The first process of the machines that test-kernels boots: it loads the
# modules, mounts the disks, runs each test binary on each of them, and turns
# the machine off. What it finds goes to the port RESULTS, where the kernel writes
# nothing; it is a parameter of the kernel's, which makes it one of the environment.
#
# The file /tests holds a line for each run: its name, the file system, the binary,
# the flags.
set -u
PATH=/bin
export PATH

mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mkdir -p /dev/shm /tmp
mount -t tmpfs none /dev/shm
mount -t tmpfs none /tmp
for module in /modules/*.ko; do
	[ -e "$module" ] || break # all is built in
	insmod "$module" # one for a processor that is not here may fail: what matters, mount sees
done
tries=0
until { [ -e "$RESULTS" ] && [ -e /dev/vda ] && [ -e /dev/vdb ]; } || [ $tries -eq 20 ]; do
	sleep 1 # a driver need not have found its devices when its module is loaded
	tries=$((tries + 1))
done
exec >"$RESULTS" 2>&1

finish() {
	sync
	poweroff -f
	sleep 60 # the machine goes before
}

stop() {
	echo "GUEST stopped: $*"
	finish
}

echo "GUEST kernel $(uname -r)"
[ -e /dev/vdb ] || stop "no virtio disks: $(ls /sys/block)"
for disk in /sys/block/vd*; do # in any order: the serial number says which it is
	fs=$(cat "$disk/serial")
	mkdir -p "/mnt/$fs"
	mount -t "$fs" "/dev/${disk##*/}" "/mnt/$fs" || stop "cannot mount $fs"
done
ip link set lo up

while read -r name fs binary flags; do
	mkdir "/mnt/$fs/$name"
	cd "/mnt/$fs/$name" || stop "cannot enter the folder of $name on $fs"
	echo "GUEST begin $name $fs"
	# shellcheck disable=SC2086 # several flags
	TMPDIR=$PWD "$binary" -test.v $flags
	echo "GUEST end $name $fs $?"
	cd / && rm -rf "/mnt/$fs/${name:?}"
done </tests
for fs in ext4 xfs; do
	umount "/mnt/$fs" || echo "GUEST left mounted $fs"
done
echo "GUEST done"
finish
