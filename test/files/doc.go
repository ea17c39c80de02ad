// Package files holds the Files of the library against files of os on the file
// systems that people have, against fio, and against disks that fill up, shrink or
// die. It makes its file systems itself, on loop devices, and needs root for that.
package files
