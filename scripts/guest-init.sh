#!/bin/sh
# The first process of the machines that test-kernels boots: it loads the
# modules, mounts the disks, runs each test binary on each of them, and turns
# the machine off. What it finds goes to the second serial port, where the
# kernel writes nothing.
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
exec >/dev/ttyS1 2>&1

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
for module in /modules/*.ko; do
	[ -e "$module" ] || break # all is built in
	insmod "$module" # one for a processor that is not here may fail: what matters, mount sees
done
[ -e /dev/vdb ] || stop "no virtio disks: $(ls /sys/block)"
for disk in vda:ext4 vdb:xfs; do
	mkdir -p "/mnt/${disk#*:}"
	mount -t "${disk#*:}" "/dev/${disk%:*}" "/mnt/${disk#*:}" || stop "cannot mount ${disk#*:}"
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
