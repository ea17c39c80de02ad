package main

import "slices"

// workload is one way to access a file.
type workload struct {
	name   string
	write  bool
	random bool
	block  int64 // bytes of one request
}

// workloads are those of a comparison. Those that only read come first: they
// need the file as it was laid out.
var workloads = []workload{
	{name: "randread-4k", random: true, block: 4 << 10},
	{name: "seqread-1m", block: 1 << 20},
	{name: "randwrite-4k", random: true, write: true, block: 4 << 10},
	{name: "seqwrite-1m", write: true, block: 1 << 20},
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// findWorkload is the workload of this name; its name is empty where there is
// none.
func findWorkload(name string) (w workload) {
	if i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name }); i >= 0 {
		w = workloads[i]
	}
	return w
}
