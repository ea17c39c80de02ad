package libaio

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ClassPool is a Pool of Buffers of several sizes, the classes, with one limit
// for all: idle memory of one class makes room for another. A ClassPool is safe
// for any number of goroutines. Close it when done.
type ClassPool struct {
	classes []*Pool // in ascending order of size
	budget  *budget
}

// NewClassPool returns an empty ClassPool of Buffers of these sizes in bytes, in
// ascending order, whose addresses are multiples of align; the rules of [Alloc]
// hold for each. nil options stand for their zero value.
func NewClassPool(sizes []int, align int, o *PoolOptions) (*ClassPool, error) {
	if o == nil {
		o = &PoolOptions{}
	}
	if len(sizes) == 0 || !slices.IsSorted(sizes) {
		return nil, invalidf("pool", "the classes are %v: must be at least one, in ascending order", sizes)
	}
	c := &ClassPool{}
	for _, size := range sizes {
		p, err := newPool(size, align, o)
		if err != nil {
			return nil, err
		}
		c.classes = append(c.classes, p)
	}
	c.budget = newBudget(o, c.classes...)
	for _, p := range c.classes {
		p.budget = c.budget
	}
	return c, nil
}

// class is the smallest class of at least size bytes.
func (c *ClassPool) class(size int) (*Pool, error) {
	if c == nil || c.budget == nil {
		return nil, invalidf("get", "the ClassPool was not made by NewClassPool")
	}
	largest := c.classes[len(c.classes)-1].size
	if size < 1 || size > largest {
		return nil, invalidf("get", "size %d: must be 1 to %d bytes, the largest class", size, largest)
	}
	return c.classes[sort.Search(len(c.classes), func(i int) bool { return c.classes[i].size >= size })], nil
}

// Get returns a Buffer whose Len is size and whose Cap is that of its class, the
// smallest that has size bytes. It never waits. The caller owns it until Put. The
// errors are those of [Pool.Get], and ErrInvalid beyond the largest class.
func (c *ClassPool) Get(size int) (*Buffer, error) {
	p, err := c.class(size)
	if err != nil {
		return nil, err
	}
	b, err := p.Get()
	return resized(b, size), err
}

// GetContext is Get that waits as [Pool.GetContext] does.
func (c *ClassPool) GetContext(ctx context.Context, size int) (*Buffer, error) {
	p, err := c.class(size)
	if err != nil {
		return nil, err
	}
	b, err := p.GetContext(ctx)
	return resized(b, size), err
}

// resized sets the length of a Buffer that the caller just got.
func resized(b *Buffer, size int) *Buffer {
	if b != nil {
		b.size = size
	}
	return b
}

// Put takes a Buffer of this ClassPool back, as [Pool.Put] does.
func (c *ClassPool) Put(b *Buffer) error {
	if c == nil || b == nil || b.pool == nil || b.pool.budget != c.budget {
		return invalidf("put", "the Buffer is nil, a view, or not of this ClassPool")
	}
	return b.pool.Put(b)
}

// Trim gives the memory of all idle Buffers back to the system, and returns how
// many bytes that were.
func (c *ClassPool) Trim() (freed int64) {
	if c == nil {
		return 0
	}
	for _, p := range c.classes {
		freed += p.trim(math.MaxInt64, false)
	}
	return freed
}

// Close is that of [Pool.Close].
func (c *ClassPool) Close() error {
	if c != nil && c.budget != nil {
		c.budget.close()
	}
	return nil
}

// Stats returns what all classes together hold. It looks at each Buffer: for
// monitoring, not for decisions.
func (c *ClassPool) Stats() PoolStats {
	if c == nil || c.budget == nil {
		return PoolStats{}
	}
	return c.budget.stats()
}

// String says what each class holds, for logs.
func (c *ClassPool) String() string {
	if c == nil {
		return "ClassPool <nil>"
	}
	return fmt.Sprintf("ClassPool of %v", c.classes)
}

var _ fmt.Stringer = (*ClassPool)(nil)
