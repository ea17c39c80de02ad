module github.com/golibaio/libaio/test/bench

go 1.25.0

require (
	github.com/golibaio/libaio v0.1.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.35.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

// The benchmarks are about the library beside them.
replace github.com/golibaio/libaio => ../..
