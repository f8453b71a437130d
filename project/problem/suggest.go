package problem

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
