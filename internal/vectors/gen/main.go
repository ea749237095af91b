// Command gen adds test vectors to testdata/vectors: those of its cases that
// are not there yet, by name. It never changes one that is there; a case that
// would is an error, and nothing is written. What it makes is the same at each
// run.
//
// With -grown-from FILE (- for standard input) it writes nothing and compares
// an older MANIFEST with the one that is there: every line must still be there.
//
// Run it from the top of the repository.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/embedvault/vault/internal/vectors"
)

func main() {
	grownFrom := flag.String("grown-from", "", "compare this older `MANIFEST` with the present one")
	flag.Parse()
	var err error
	if *grownFrom != "" {
		err = checkGrowth(*grownFrom, os.Stdin)
	} else {
		err = generate("testdata/vectors", os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate adds what is missing to the files in dir.
func generate(dir string, out io.Writer) error {
	files, err := merged(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := f.write(dir); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %d vectors, %d new\n", f.name, len(f.vectors), f.added)
	}
	return writeManifest(dir, files)
}

// merged is what the files are to be; nothing is written yet.
func merged(dir string) ([]file, error) {
	var files []file
	for name, cases := range allCases() {
		f, err := merge(dir, name, cases)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// allCases yields each file's name and its cases, in the order of
// vectors.Files.
func allCases() func(yield func(string, []any) bool) {
	return func(yield func(string, []any) bool) {
		_ = yield(vectors.EnvelopeFile, list(envelopeCases())) &&
			yield(vectors.KeyContextFile, list(keyContextCases())) &&
			yield(vectors.BlockFile, list(blockCases())) &&
			yield(vectors.TextFile, list(textCases())) &&
			yield(vectors.ObjectFile, list(objectCases())) &&
			yield(vectors.DataKeyFile, list(dataKeyCases())) &&
			yield(vectors.StreamHeaderFile, list(streamHeaderCases())) &&
			yield(vectors.KeysetFile, list(keysetCases())) &&
			yield(vectors.BindingFile, list(bindingCases())) &&
			yield(vectors.UnwrapFile, list(unwrapCases())) &&
			yield(vectors.AWSKMSFile, nil) &&
			yield(vectors.GCPKMSFile, nil) &&
			yield(vectors.AzureKVFile, nil) &&
			yield(vectors.HashivaultFile, nil) &&
			yield(vectors.ChildKeyFile, list(childKeyCases())) &&
			yield(vectors.FieldFile, list(fieldCases())) &&
			yield(vectors.BlindIndexFile, list(blindIndexCases()))
	}
}

func list[T any](vs []T) []any {
	out := make([]any, len(vs))
	for i, v := range vs {
		out[i] = v
	}
	return out
}

func checkGrowth(path string, stdin io.Reader) error {
	var before []byte
	var err error
	if path == "-" {
		before, err = io.ReadAll(stdin)
	} else {
		before, err = os.ReadFile(path)
	}
	if err != nil {
		return err
	}
	if len(before) == 0 {
		return errors.New("the older MANIFEST is empty")
	}
	now, err := vectors.CommittedManifest()
	if err != nil {
		return err
	}
	return vectors.CheckGrowth(vectors.SplitManifest(before), now)
}
