package main

import "testing"

// The whole story, whose steps fail if what they tell of isn't so.
func TestStory(t *testing.T) {
	if err := run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
