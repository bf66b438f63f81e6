CREATE DATABASE prefect; -- beside that of MLflow, which the image makes
