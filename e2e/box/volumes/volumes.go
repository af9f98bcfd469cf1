// Package volumes provisions PersistentVolumes for the box: a folder per claim
// and node. All nodes of the box share the machine's file system, so the program
// runs once, outside the cluster, and makes and removes the folders itself.
package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Name is the provisioner's name in a StorageClass.
const Name = "chronik.dev/box"

// NewCommand returns the command that provisions volumes until it is killed.
func NewCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:   "volumes",
		Short: "Provision the box's volumes as folders under --root",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return run(klog.NewContext(command.Context(), klog.Background()), kubeconfig, root)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of a user who may manage volumes")
	command.Flags().StringVar(&root, "root", "", "absolute folder that holds one folder per node and volume")
	for _, flag := range []string{"kubeconfig", "root"} {
		if err := command.MarkFlagRequired(flag); err != nil {
			panic(err) // a flag that was never declared
		}
	}
	return command
}

func run(ctx context.Context, kubeconfig, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("--root is %q: want an absolute path", root)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	// One instance by construction, so no election; no metrics port.
	controller.NewProvisionController(ctx, client, Name, folders{root},
		controller.LeaderElection(false), controller.MetricsPort(0)).Run(ctx)
	return nil
}

// folders provisions a volume as root/NODE/VOLUME.
type folders struct{ root string }

func (f folders) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished,
			fmt.Errorf("claim %s has no selected node: its StorageClass needs volumeBindingMode WaitForFirstConsumer", options.PVC.Name)
	}
	node := options.SelectedNodeName
	path := filepath.Join(f.root, node, options.PVName)
	// Owned by root and closed to others, like a fresh disk: a pod that runs as
	// another user needs fsGroup, here as on any real cluster.
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make volume: %w", err)
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity:                  only(node),
		},
	}
	return volume, controller.ProvisioningFinished, nil
}

func (f folders) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	if volume.Spec.Local == nil {
		return fmt.Errorf("volume %s is not one of ours: it has no local path", volume.Name)
	}
	path := volume.Spec.Local.Path
	// The path comes from the API: remove nothing but a folder this program names itself.
	if filepath.Dir(filepath.Dir(path)) != filepath.Clean(f.root) || filepath.Base(path) != volume.Name {
		return fmt.Errorf("volume %s: path %q is not %s/NODE/%s", volume.Name, path, f.root, volume.Name)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove volume: %w", err)
	}
	return nil
}

// only is the affinity that keeps a volume's pods on the node that has its folder.
func only(node string) *v1.VolumeNodeAffinity {
	term := v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{
		Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node},
	}}}
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{term}}}
}
