package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// errNeedless reports that an exclusion hides a test that passes.
var errNeedless = errors.New("there are exclusions that are not needed")

// checkExclusions runs each excluded test of the units by itself: an exclusion
// whose test passes, or skips itself, is not needed on that monitor.
func (r *runner) checkExclusions(ctx context.Context, units []unit, on []monitor) error {
	needless := false
	for _, u := range units {
		list := r.exclusions.of(u.name)
		if len(list) == 0 {
			continue
		}
		for _, m := range on {
			if !m.image() {
				continue
			}
			if err := r.checkUnit(ctx, run{u, m}, list, &needless); err != nil {
				return fmt.Errorf("%s on %s: %w", u.name, m.name, err)
			}
		}
	}
	if needless {
		return errNeedless
	}
	return nil
}

func (r *runner) checkUnit(ctx context.Context, x run, list exclusions, needless *bool) (err error) {
	dir, err := os.MkdirTemp(r.dir, "check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := x.build(ctx, r.derived, filepath.Join(dir, "built"))
	if err != nil {
		return err
	}
	for _, e := range list {
		passes, err := r.passes(ctx, x, binary, e)
		if err != nil {
			return err
		}
		verdict := "ok      "
		if passes {
			verdict, *needless = "NEEDLESS", true
		}
		fmt.Fprintf(r.out, "%s %s %s %s (%s)\n", verdict, x.name, e.test, x.on.name, e.reason)
	}
	return nil
}

// passes reports whether an excluded test passes nevertheless.
func (r *runner) passes(ctx context.Context, x run, binary string, e exclusion) (bool, error) {
	if x.program != nil {
		var rec record
		err := r.runProgram(ctx, x, binary, &rec, io.Discard)
		return rec.whole(), err
	}
	if err := (exclusions{e}).found(binary); err != nil {
		return false, err
	}
	args := append(r.testArgs(x.on), "-test.run="+e.pattern())
	res, end, err := r.runTests(ctx, x, binary, args, io.Discard)
	if err != nil {
		return false, err
	}
	return end.code == 0 && res.complete && len(res.failed) == 0, nil
}
