package config

import "strings"

// nearest is the candidate with the fewest edits to word, or "" when none is near:
// more than a third of the letters wrong is another word. Case, - and _ count as
// no difference, so that canary_10_5M finds canary-10-5m.
func nearest(word string, candidates []string) string {
	if len(word) > 80 {
		return ""
	}
	best, bestEdits := "", len(word)/3+1
	folded := foldWord(word)
	for _, candidate := range candidates {
		if n := edits(folded, foldWord(candidate)); n < bestEdits || n == 0 {
			best, bestEdits = candidate, n
		}
	}
	return best
}

func foldWord(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// edits counts insertions, deletions, replacements and swaps of neighbours that
// turn a into b (optimal string alignment).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
