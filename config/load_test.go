package config

import (
	"reflect"
	"testing"
)

// none is an environment without variables.
var none = []string{}

func TestReferenceIsDefaultAndExample(t *testing.T) {
	got, report, err := Load(LoadOptions{File: "../deploy.yaml", FileRequired: true, Environ: none})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	shop := DefaultDeployment()
	shop.Name = "shop"
	shop.Schemas = []Pair{{Live: "prod", Deploy: "prod_deploy"}}
	shop.Clusters = []Pair{{Live: "prod", Deploy: "prod_deploy"}}
	want.Deployments = []Deployment{shop}
	got.Control.environ = nil
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("deploy.yaml is\n%+v\nwant\n%+v", *got, want)
	}
	if len(report.Notes) != 0 {
		t.Errorf("notes on the reference: %v", report.Notes)
	}
}
