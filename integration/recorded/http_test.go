package recorded_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// exchange is a recorded HTTP call, in the form of httpreplay's files.
type exchange struct {
	Request struct {
		Method, URL string
		Header      http.Header
	}
	Response struct {
		StatusCode int
		Header     http.Header
		Body       []byte
	}
}

// exchanges reads a recording.
func exchanges(t testing.TB, driver, name string) []exchange {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(recordings(t, driver), filepath.FromSlash(name)))
	ok(t, err)
	var file struct{ Entries []exchange }
	ok(t, json.Unmarshal(b, &file))
	if len(file.Entries) == 0 {
		t.Fatalf("%s has no calls", name)
	}
	return file.Entries
}

// response is the recorded answer, as that to r.
func (e exchange) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: e.Response.StatusCode, Status: http.StatusText(e.Response.StatusCode),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: e.Response.Header.Clone(), ContentLength: int64(len(e.Response.Body)),
		Body: io.NopCloser(bytes.NewReader(e.Response.Body)),
	}
}

// transport is a round tripper that is a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
func (f transport) Do(r *http.Request) (*http.Response, error)        { return f(r) }
