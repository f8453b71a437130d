package problem

import (
	"fmt"
	"os"
	"path/filepath"
)

// NearFile says which file beside a mistyped path may have been meant; "" when none is close.
func NearFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if name := Nearest(filepath.Base(path), names); name != "" {
		return fmt.Sprintf("did you mean %s?", filepath.Join(filepath.Dir(path), name))
	}
	return ""
}

// Nearest returns the candidate that a person most likely meant, or "" when none
// is close: at most a third of its letters differ.
func Nearest(word string, candidates []string) string {
	best, bestAt := "", -1
	for _, c := range candidates {
		d := distance(word, c)
		if d <= max(1, len(c)/3) && (bestAt < 0 || d < bestAt) {
			best, bestAt = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
