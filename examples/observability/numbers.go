package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// numbers are series and their values, as Prometheus' text form has them.
type numbers map[string]float64

// parse reads the text form. Label values of this program have no space.
func parse(text string) (numbers, error) {
	n := make(numbers)
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		series, value, found := strings.Cut(line, " ")
		x, err := strconv.ParseFloat(value, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("metrics: a line that is no series and value: %q", line)
		}
		n[series] = x
	}
	return n, nil
}

// since returns by how much each series has grown.
func (n numbers) since(before numbers) numbers {
	grown := make(numbers, len(n))
	for series, x := range n {
		grown[series] = x - before[series]
	}
	return grown
}

// The series' names, in the order in which they are printed.
const (
	operations = "embedvault_operation_duration_seconds"
	lookups    = "embedvault_cache_lookups_total"
	stale      = "embedvault_cache_stale_total"
	calls      = "embedvault_kek_calls_total"
	kekErrors  = "embedvault_kek_errors_total"
	kekTime    = "embedvault_kek_call_time_seconds_total"
)

func uri(name string) string { return fmt.Sprintf(`{embedvault_kek_uri="mem:%s"}`, name) }

// print prints what moved, and what follows from it.
func (n numbers) print(out io.Writer) {
	for _, name := range []string{operations + "_count", lookups, stale, calls, kekErrors} {
		for _, series := range slices.Sorted(maps.Keys(n)) {
			if n[series] != 0 && (series == name || strings.HasPrefix(series, name+"{")) {
				fmt.Fprintf(out, "  %-90s +%v\n", series, n[series])
			}
		}
	}
	fmt.Fprintf(out, "  found in the cache: %.1f %%", 100*n.hitRatio())
	for _, name := range []string{"acme", "globex"} {
		if made := n[calls+uri(name)]; made > 0 {
			fmt.Fprintf(out, "; a call to %s's KMS takes %.1f ms", name, 1000*n[kekTime+uri(name)]/made)
		}
	}
	fmt.Fprintf(out, "\n  half of all operations within %s s, 99 %% within %s s\n", n.within(0.5), n.within(0.99))
}

// hitRatio is the part of the lookups that found their key in the cache.
func (n numbers) hitRatio() float64 {
	hit, miss := n[lookups+`{embedvault_cache_result="hit"}`], n[lookups+`{embedvault_cache_result="miss"}`]
	if hit+miss == 0 {
		return 0
	}
	return hit / (hit + miss)
}

// within is the upper bound, in seconds, of the bucket in which the quantile q of all
// operations lies, failed ones too.
func (n numbers) within(q float64) string {
	total := 0.0
	byBound := make(map[float64]float64)
	for series, x := range n {
		if strings.HasPrefix(series, operations+"_count") {
			total += x
		}
		if _, rest, found := strings.Cut(series, `le="`); found && strings.HasPrefix(series, operations+"_bucket") {
			bound, err := strconv.ParseFloat(rest[:strings.IndexByte(rest, '"')], 64)
			if err == nil {
				byBound[bound] += x
			}
		}
	}
	for _, bound := range slices.Sorted(maps.Keys(byBound)) {
		if byBound[bound] >= q*total {
			return strconv.FormatFloat(bound, 'g', -1, 64)
		}
	}
	return "?"
}
