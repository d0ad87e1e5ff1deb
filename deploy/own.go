package deploy

import "fmt"

// OwnRollout says which rollout, if any, the deployment's marks and retired names
// belong to by right, as this state tells it.
func (s *State) OwnRollout() string {
	if s.Running() || s.closing() || s.Marked {
		return s.Rollout
	}
	return ""
}

// OwnFindings turns what a rollout that is known has left on the objects into
// information. Left as they are, P14 would advise to take over and P15 to drop what
// that rollout still needs.
func OwnFindings(findings []Finding, rollout string) []Finding {
	if rollout == "" {
		return findings
	}
	for i := range findings {
		f := &findings[i]
		if f.Rollout != rollout {
			continue
		}
		f.Severity, f.Remedy, f.Grant, f.Accept = Info, nil, nil, ""
		if f.Code == "P14" {
			f.Sentence = fmt.Sprintf("This deployment's own rollout %s is at work on it; `mzcanary rollout status` says how far it is.", rollout)
		} else {
			f.Sentence = fmt.Sprintf("This deployment's own rollout %s keeps a version there, and drops it when its time has come; `mzcanary rollout status` says how far it is.", rollout)
		}
	}
	return findings
}
